package cache

import (
	"sync"
	"time"
)

// Writes into the shared store pause after a failure, each time for longer.
const (
	minWritePause = time.Second
	maxWritePause = 30 * time.Second
)

// WritesStatus is the status of writes into the shared store.
type WritesStatus struct {
	Failed uint64    // in total
	Paused time.Time // paused until then; zero: not paused
	Err    error     // the last failure
}

// writes decides whether to write into the shared store. Failed writes concern only the cache: they
// say nothing about the store for limits and sessions.
type writes struct {
	mu    sync.Mutex
	now   WritesStatus  // guarded by mu
	pause time.Duration // the last one; 0 after a success; guarded by mu
}

// may reports whether to try. After a pause only one write is tried until its outcome is known.
func (w *writes) may(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Before(w.now.Paused) {
		return false
	}
	if w.pause > 0 {
		w.now.Paused = now.Add(w.pause)
	}
	return true
}

// outcome records the result of a try. A try for which the store was not asked says nothing.
func (w *writes) outcome(answered bool, err error, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case answered && err == nil:
		w.pause, w.now.Paused, w.now.Err = 0, time.Time{}, nil
	case err != nil:
		w.pause = min(max(2*w.pause, minWritePause), maxWritePause)
		w.now.Failed++
		w.now.Paused, w.now.Err = now.Add(w.pause), err
	}
}

func (w *writes) status() WritesStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}
