package ratelimit

import "sync"

// InFlight counts the requests of each key that this gateway is serving. It
// holds no more keys than there are requests. The zero value is ready.
type InFlight struct {
	mu     sync.Mutex
	counts map[string]int // never 0; guarded by mu
}

// Enter counts one more of key, unless there are most of them already.
func (f *InFlight) Enter(key string, most int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		f.counts = map[string]int{}
	}
	if f.counts[key] >= most {
		return false
	}
	f.counts[key]++
	return true
}

// Leave counts one less.
func (f *InFlight) Leave(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts[key]--; f.counts[key] == 0 {
		delete(f.counts, key)
	}
}
