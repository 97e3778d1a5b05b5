package faultproxy

import "testing"

// TestRoundTrips plays orders of events that a socket gives only by chance.
func TestRoundTrips(t *testing.T) {
	for _, tt := range []struct {
		sentence    string
		events      string // a: a byte arrives, q: a command, h: one of a handshake, i: nothing to answer, r: a reply
		trips, side int64
	}{
		{"a command and its reply", "aqr", 1, 0},
		{"one after the other", "aqraqr", 2, 0},
		{"a pipeline", "aqaqaqrrr", 1, 0},
		{"a pipeline whose first reply is early", "aqaqraqrr", 1, 0},
		{"all replies are early, but the next command has begun to arrive", "aqarqr", 1, 0},
		{"what begins to arrive asks nothing", "aqariaqr", 2, 0},
		{"an empty line", "ai", 0, 0},
		{"a handshake", "ahahrr", 0, 1},
		{"a handshake, then a command", "ahraqr", 1, 1},
		{"a command in one write with the handshake", "ahaqrr", 1, 0},
		{"a handshake's command in a pipeline", "aqahrr", 1, 0},
		{"and another after it", "aqahaqrrr", 1, 0},
		{"a command that is never answered counts", "aq", 1, 0},
	} {
		var c counters
		f := newFlight(&c)
		for _, e := range tt.events {
			switch e {
			case 'a':
				f.arrive()
			case 'q', 'h':
				f.ask(expected{}, e == 'h')
			case 'i':
				f.idle()
			case 'r':
				f.answered()
			}
		}
		if c.s.RoundTrips != tt.trips || c.s.ApartTrips != tt.side {
			t.Errorf("%s: %d and %d apart, want %d and %d", tt.sentence, c.s.RoundTrips, c.s.ApartTrips, tt.trips, tt.side)
		}
	}
}

func TestFlightIsBounded(t *testing.T) {
	f := newFlight(&counters{})
	for range maxFlight {
		f.ask(expected{}, false)
	}
	asked := make(chan bool)
	ask := func() { asked <- f.ask(expected{}, false) }
	go ask()
	f.answered()
	if !<-asked {
		t.Error("there was room")
	}
	go ask()
	f.end()
	if <-asked {
		t.Error("asked on a connection that is over")
	}
}

func TestNamesAreBounded(t *testing.T) {
	var c counters
	for i := range maxNames * 2 {
		c.command(string(rune('a'+i)), false)
	}
	if got := len(c.s.Commands); got != maxNames+1 {
		t.Errorf("%d names", got)
	}
	if got := c.s.Commands[unnamed]; got != maxNames {
		t.Errorf("%d share a name", got)
	}
}
