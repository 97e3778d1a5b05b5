package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
)

// handles finds the metrics of label values without a lock or a hash of the labels: every request asks
// for several, on all processors at once. Values are as bounded as those of the labels.
type handles[K comparable, M any] struct {
	find func(K) M

	mu    sync.Mutex // of who adds
	known atomic.Pointer[map[K]M]
}

func newHandles[K comparable, M any](find func(K) M) *handles[K, M] {
	h := &handles[K, M]{find: find}
	h.known.Store(&map[K]M{})
	return h
}

func (h *handles[K, M]) of(k K) M {
	if m, ok := (*h.known.Load())[k]; ok {
		return m
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	known := maps.Clone(*h.known.Load())
	m := h.find(k)
	known[k] = m
	h.known.Store(&known)
	return m
}
