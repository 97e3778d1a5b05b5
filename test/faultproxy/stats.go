package faultproxy

import (
	"maps"
	"sync"
)

// Stats is what has gone through since the start or the last ResetStats.
//
// A ROUND TRIP is what a client waits for once: it begins with a command that
// arrives on a connection where nothing is unanswered, and ends with the reply
// to the last command that has arrived by then. So a pipeline flushed in one
// write is one, if it fits into 32 KiB; a longer one may count as several, if
// the server has answered all of a part, to the byte, before the next arrives.
// It is counted when it begins, so whoever has an answer finds it counted.
type Stats struct {
	// RoundTrips with at least one command of a request, and those commands by
	// name in upper case.
	RoundTrips int64
	Commands   map[string]int64
	// ApartTrips and Apart are the same for round trips and commands of no
	// request: the handshake of a connection, keys that SetAside names, and
	// Pub/Sub connections, where a subscription is no round trip.
	ApartTrips int64
	Apart      map[string]int64
	// Transactions is how many EXECs there were; they count as commands too.
	Transactions int64
	// Pushes is what the server sent unasked: messages and confirmations of
	// Pub/Sub, invalidations.
	Pushes int64
	// Hits is how many commands a Reply other than Pass has hit.
	Hits int64
	// Connections stand now, PubSub of them are Pub/Sub; Accepted came in all.
	Connections, PubSub int
	Accepted            int64
	// BytesIn came from clients, BytesOut from the server; what a fault swallowed
	// is in neither.
	BytesIn, BytesOut int64
}

// maxNames bounds the names that are counted apart; the rest share unnamed.
const maxNames = 512

// counters is the Stats that grow.
type counters struct {
	mu sync.Mutex
	s  Stats
}

func (c *counters) add(change func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.s)
}

// command counts one, by its name.
func (c *counters) command(name string, apart bool) {
	c.add(func(s *Stats) {
		names := &s.Commands
		if apart {
			names = &s.Apart
		}
		if *names == nil {
			*names = map[string]int64{}
		}
		if _, ok := (*names)[name]; !ok && len(*names) >= maxNames {
			name = unnamed
		}
		(*names)[name]++
		if name == "EXEC" {
			s.Transactions++
		}
	})
}

// Stats returns a snapshot.
func (p *Proxy) Stats() Stats {
	p.counters.mu.Lock()
	s := p.counters.s
	s.Commands, s.Apart = maps.Clone(s.Commands), maps.Clone(s.Apart)
	p.counters.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Connections = len(p.conns)
	for c := range p.conns {
		if c.subscribed.Load() {
			s.PubSub++
		}
	}
	return s
}

// ResetStats begins to count anew. A round trip that has begun stays counted
// where it was.
func (p *Proxy) ResetStats() {
	p.counters.mu.Lock()
	defer p.counters.mu.Unlock()
	p.counters.s = Stats{}
}

// SetAside makes commands whose first key is one of keys count apart, like a
// handshake: a probe's, that would blur what a request costs. It replaces what
// was set before. Keys after an argument above 4 KiB are not seen.
func (p *Proxy) SetAside(keys ...string) {
	aside := make(map[string]bool, len(keys))
	for _, k := range keys {
		aside[k] = true
	}
	p.aside.Store(&aside)
}
