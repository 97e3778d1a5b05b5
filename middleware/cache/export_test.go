package cache

// Settle waits for background refreshes. No request may run meanwhile.
func (c *Cache) Settle() { c.tasks.Wait() }

// Waiting counts the requests that wait for, or read from, shared upstream requests.
func (c *Cache) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, f := range c.flights {
		n += f.waiting
	}
	return n
}

// Recording counts the bytes held of bodies in transit.
func (c *Cache) Recording() int64 { return c.recording.Load() }

// HoldEncodings takes all slots for encodings until release is called.
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

// Streaming is how many slots for streamed encodings are taken.
func (c *Cache) Streaming() int { return len(c.streaming) }

// Lingering counts the writes that continue without their clients.
func (c *Cache) Lingering() int { return len(c.lingering) }
