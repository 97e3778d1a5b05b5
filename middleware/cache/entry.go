package cache

import (
	"net/http"
	"strconv"
	"time"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// Entry is one stored response, ready to be served. It is immutable.
type Entry struct {
	Status int
	// Header is what a response carries beside Age and Cache-Status. Its slices
	// have no spare capacity, so that they may be put into another header as
	// they are: whoever appends there gets a copy.
	Header http.Header
	Body   []byte

	Vary      []string // names of the request fields that select the entry, beyond the key's; canonical, sorted
	Selecting []string // their values in its request, as rfc9111.Selecting gives them

	Received             time.Time     // when the response, or the last 304 for it, came
	InitialAge           time.Duration // its age then (RFC 9111, 4.2.3)
	Fresh                time.Duration // how long after Received it is fresh; may be negative
	StaleWhileRevalidate time.Duration // after Fresh
	StaleIfError         time.Duration // after Fresh
	Keep                 time.Duration // after Received; then it may be forgotten
	NoCache              bool          // to be validated before each use
	NeverStale           bool          // not to be served stale

	Marks []Mark // generations of its tags when its fill began
}

// Matches reports whether a request selects the entry (RFC 9111, 4.1).
func (e *Entry) Matches(fields rfc9111.Fields) bool {
	for i, name := range e.Vary {
		if rfc9111.Selecting(name, fields.Values(name)) != e.Selecting[i] {
			return false
		}
	}
	return true
}

// Expired reports whether the entry is past its Keep.
func (e *Entry) Expired(now time.Time) bool { return now.Sub(e.Received) > e.Keep }

// Size estimates the bytes that the entry takes in memory.
func (e *Entry) Size() int {
	const entry, field = 384, 96 // struct with its allocations; a map slot with its slice header
	n := entry + cap(e.Body) + 16*len(e.Marks)
	for name, values := range e.Header {
		n += field + len(name)
		for _, v := range values {
			n += 16 + len(v)
		}
	}
	for i, name := range e.Vary {
		n += 32 + len(name) + len(e.Selecting[i])
	}
	return n
}

func (e *Entry) age(now time.Time) time.Duration {
	return e.InitialAge + max(0, now.Sub(e.Received))
}

func (e *Entry) remaining(now time.Time) time.Duration {
	return e.Fresh - max(0, now.Sub(e.Received))
}

func (e *Entry) state(now time.Time) rfc9111.Stored {
	return rfc9111.Stored{Age: e.age(now), Remaining: e.remaining(now), NoCache: e.NoCache, NeverStale: e.NeverStale}
}

// fill makes h, which may hold headers already, that of a response from the
// entry. With notModified, it is a 304's (RFC 9110, 15.4.5).
func (e *Entry) fill(h http.Header, now time.Time, status string, notModified bool) {
	for name, values := range e.Header {
		if notModified && rfc9111.OmitFrom304(name) {
			continue
		}
		h[name] = values
	}
	made := [2]string{strconv.FormatInt(int64(e.age(now)/time.Second), 10), status}
	values := made[:]
	h["Age"] = values[0:1:1]
	if upstream := e.Header[statusField]; len(upstream) > 0 {
		h[statusField] = append(upstream, status)
	} else {
		h[statusField] = values[1:2:2]
	}
}
