package cache

// Settle waits for refreshes in the background. No request may run meanwhile.
func (c *Cache) Settle() { c.tasks.Wait() }

// Waiting counts the requests that wait for, or read from, what is asked
// upstream for all of them.
func (c *Cache) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, f := range c.flights {
		n += f.waiting
	}
	return n
}

// Recording counts the bytes of bodies that are on their way.
func (c *Cache) Recording() int64 { return c.recording.Load() }

// HoldEncodings takes all places for encodings until release is called.
func (c *Cache) HoldEncodings() (release func()) {
	for range maxMaking {
		c.making <- struct{}{}
	}
	for range maxStreaming {
		c.streaming <- struct{}{}
	}
	return func() {
		for range maxMaking {
			<-c.making
		}
		for range maxStreaming {
			<-c.streaming
		}
	}
}

// Streaming is how many places for encodings of responses on their way are taken.
func (c *Cache) Streaming() int { return len(c.streaming) }

// Lingering counts the writes that go on without their clients.
func (c *Cache) Lingering() int { return len(c.lingering) }
