package ratelimit

import (
	"cmp"
	"container/heap"
	"slices"
	"sync"
	"time"
)

// topKeys is how many keys Top follows.
const topKeys = 128

// Top finds the most charged keys in bounded memory, by the Space-Saving sketch (Metwally, Agrawal,
// El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005). Counts
// halve every topHalf, so that they describe the present. The zero value is ready.
type Top struct {
	mu     sync.Mutex
	heap   topHeap         // smallest count first; guarded by mu
	at     map[string]*hot // guarded by mu
	halved time.Time       // guarded by mu
}

const topHalf = time.Minute

// Hot is a key that is charged often. Counts start when it was noticed, and halve every minute. Up
// to Error of Total may belong to other keys.
type Hot struct {
	Limit  string `json:"limit"`
	Key    string `json:"key"`
	Total  int    `json:"total"`
	Denied int    `json:"denied"`
	Error  int    `json:"error"`
}

type hot struct {
	Hot
	index int // in the heap
}

// Add counts one charge.
func (t *Top) Add(limit, key string, allowed bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil {
		t.at, t.halved = make(map[string]*hot, topKeys), now
	}
	t.halveLocked(now)
	h := t.at[key]
	switch {
	case h != nil:
	case len(t.heap) < topKeys:
		h = &hot{Hot: Hot{Limit: limit, Key: key}}
		heap.Push(&t.heap, h)
		t.at[key] = h
	default: // replace the smallest, whose count becomes the error
		h = t.heap[0]
		delete(t.at, h.Key)
		h.Hot = Hot{Limit: limit, Key: key, Total: h.Total, Error: h.Total}
		t.at[key] = h
	}
	h.Total++
	if !allowed {
		h.Denied++
	}
	heap.Fix(&t.heap, h.index)
}

// halveLocked halves the counts once for each topHalf that has passed.
func (t *Top) halveLocked(now time.Time) {
	times := int(now.Sub(t.halved) / topHalf)
	if times <= 0 {
		return
	}
	for _, h := range t.heap { // halving keeps the heap order
		by := min(times, 62)
		h.Total, h.Denied, h.Error = h.Total>>by, h.Denied>>by, h.Error>>by
	}
	t.halved = t.halved.Add(time.Duration(times) * topHalf)
}

// List returns the n hottest keys that were charged of late, the hottest first.
func (t *Top) List(n int, now time.Time) []Hot {
	t.mu.Lock()
	t.halveLocked(now)
	list := make([]Hot, 0, len(t.heap))
	for _, h := range t.heap {
		if h.Total > 0 {
			list = append(list, h.Hot)
		}
	}
	t.mu.Unlock()
	slices.SortFunc(list, func(a, b Hot) int {
		return cmp.Or(cmp.Compare(b.Total-b.Error, a.Total-a.Error), cmp.Compare(a.Key, b.Key))
	})
	return list[:min(n, len(list))]
}

type topHeap []*hot

func (h topHeap) Len() int           { return len(h) }
func (h topHeap) Less(i, j int) bool { return h[i].Total < h[j].Total }
func (h topHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *topHeap) Push(x any) {
	e := x.(*hot)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface, and is never called: the sketch does not shrink.
func (h *topHeap) Pop() any { panic("ratelimit: the sketch does not shrink") }
