package proxy

import "sync"

// leaving holds the connections and streams in flight that must be told when the gateway leaves. The
// zero value works.
type leaving[T interface {
	comparable
	leave() // called once, under a lock: it must not block
}] struct {
	mu   sync.Mutex
	all  map[T]struct{} // guarded by mu
	told bool           // guarded by mu
}

// add takes c in. After leave it is told at once.
func (l *leaving[T]) add(c T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[T]struct{}{}
	}
	l.all[c] = struct{}{}
	if l.told {
		c.leave()
	}
}

// remove drops c, and reports whether leave has been called.
func (l *leaving[T]) remove(c T) (left bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, c)
	return l.told
}

// stopped reports whether leave has been called.
func (l *leaving[T]) stopped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.told
}

// leave tells all, and those to come.
func (l *leaving[T]) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = true
	for c := range l.all {
		c.leave()
	}
}

// each calls do for those that are left, and returns how many there are.
func (l *leaving[T]) each(do func(T)) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.all {
		do(c)
	}
	return len(l.all)
}
