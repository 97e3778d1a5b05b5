package cache

// Settle waits for refreshes in the background. No request may run meanwhile.
func (c *Cache) Settle() { c.tasks.Wait() }
