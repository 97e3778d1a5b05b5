package faultproxy

import (
	"strings"
	"sync"
)

// maxFlight bounds the commands that a connection may have unanswered; the next
// ones wait.
const maxFlight = 1 << 16

// expected is a reply that the server owes.
type expected struct {
	do   Action // Pass, Refuse, Drop, Truncate or Garble
	text string // for Refuse
}

// flight is what one connection has asked and not been answered, in order. One
// goroutine asks, another answers.
type flight struct {
	counters *counters

	mu       sync.Mutex // guards what follows
	room     sync.Cond
	waiting  []expected
	arriving bool // a command is half read, so its client is not done asking
	trip     bool // a round trip is under way
	apart    bool // all that it consists of is apart
	over     bool
}

func newFlight(c *counters) *flight {
	f := &flight{counters: c}
	f.room.L = &f.mu
	return f
}

// arrive says that the first byte of a command has come.
func (f *flight) arrive() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.arriving = true
}

// idle says that what arrived asks for no reply.
func (f *flight) idle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.arriving = false
	f.trip = len(f.waiting) > 0
}

// ask queues what arrived. It waits while the queue is full, and reports false
// if the connection is over.
func (f *flight) ask(e expected, apart bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.waiting) >= maxFlight && !f.over {
		f.room.Wait()
	}
	if f.over {
		return false
	}
	f.arriving = false
	f.waiting = append(f.waiting, e)
	switch {
	case !f.trip && apart:
		f.counters.add(func(s *Stats) { s.ApartTrips++ })
	case !f.trip:
		f.counters.add(func(s *Stats) { s.RoundTrips++ })
	case f.apart && !apart: // it began with a handshake, and is more
		f.counters.add(func(s *Stats) { s.ApartTrips = max(0, s.ApartTrips-1); s.RoundTrips++ })
	}
	f.apart = apart && (!f.trip || f.apart)
	f.trip = true
	return true
}

// next is the reply that is due, if any is.
func (f *flight) next() (expected, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.waiting) == 0 {
		return expected{}, false
	}
	return f.waiting[0], true
}

// answered takes the reply that was due off the queue. It must be called before
// the last byte of that reply leaves: else the client might ask again first,
// and two round trips would look like one.
func (f *flight) answered() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = f.waiting[1:]
	f.trip = len(f.waiting) > 0 || f.arriving
	f.room.Signal()
}

// end lets nobody wait any more.
func (f *flight) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	f.room.Broadcast()
}

// refusal is the error reply text to a command.
func refusal(text, name string) string {
	return "-" + strings.ReplaceAll(text, "%s", strings.ToLower(name)) + "\r\n"
}
