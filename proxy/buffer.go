package proxy

import "sync"

// bufferSize is the most that is copied at once, as io.Copy does.
const bufferSize = 32 << 10

// bufferPool lends the buffers in which bodies are copied; without it each
// response would allocate one. The zero value works.
type bufferPool struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *bufferPool) Get() []byte {
	if buf, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buf[:]
	}
	return make([]byte, bufferSize)
}

// Put implements httputil.BufferPool. A pointer to the array costs no
// allocation, as a slice would.
func (b *bufferPool) Put(buf []byte) { b.pool.Put((*[bufferSize]byte)(buf)) }
