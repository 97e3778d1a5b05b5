package cache

import (
	"net/http"
	"strings"
	"time"
	"unique"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// Entry is one stored response, ready to be served. It is immutable, except for its Codings.
type Entry struct {
	URL    string // of its request, for the operator; see urlOf
	Status int
	// Header is the response header without Age and Cache-Status. Its slices have no spare
	// capacity, so that other headers may share them: append makes a copy.
	Header http.Header
	Body   []byte

	Vary      []string // request fields that select the entry beyond its key; canonical, sorted
	Selecting []string // their values in its request, by rfc9111.Selecting

	Received             time.Time     // when the response, or the last 304 for it, arrived
	InitialAge           time.Duration // its age then (RFC 9111, 4.2.3)
	Fresh                time.Duration // how long after Received it is fresh; may be negative
	StaleWhileRevalidate time.Duration // after Fresh
	StaleIfError         time.Duration // after Fresh
	Keep                 time.Duration // after Received; then it may be dropped
	NoCache              bool          // to be validated before each use
	NeverStale           bool          // not to be served stale

	// First and Complete are set if Body is a part: the position of its first byte and the length
	// of the whole (RFC 9111, 3.3); see parts.go.
	First, Complete int64

	// OwnTag: the ETag was made here; the upstream does not know it.
	OwnTag bool

	// Codings are the encoded forms of Body; nil: it is sent as it is. Tiers sets them on entries
	// in memory.
	Codings *Codings
	// Uses counts the answers with it. Tiers sets it on entries in memory.
	Uses *Uses

	Tags  []string // those that the response named, for a 304 that names none; what counts are the marks
	Marks []Mark   // generations of its tags when its fill began; purged if one has grown
	Soft  []Mark   // those of its softTags; stale if one has grown

	Cost time.Duration // how long the upstream took, if this gateway asked; not in the shared store. See Cache.early
}

// compact returns a copy of a header whose values lie in one piece of memory, as do its slices. Stored headers
// live long, and the garbage collector looks at each piece again and again.
func compact(h http.Header) http.Header {
	count, bytes := 0, 0
	for _, values := range h {
		count += len(values)
		for _, v := range values {
			bytes += len(v)
		}
	}
	var text strings.Builder
	text.Grow(bytes)
	all, packed := make([]string, 0, count), make(http.Header, len(h))
	for name, values := range h {
		first := len(all)
		for _, v := range values {
			at := text.Len()
			text.WriteString(v)
			all = append(all, text.String()[at:])
		}
		packed[unique.Make(name).Value()] = all[first:len(all):len(all)] // names are few, and in every header
	}
	return packed
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

// Compresses reports whether the entry's body is worth compressing.
func (e *Entry) Compresses() bool {
	return len(e.Body) >= minEncoded && encodable(e.Status, e.Header)
}

// Expired reports whether the entry is past its Keep.
func (e *Entry) Expired(now time.Time) bool { return now.Sub(e.Received) > e.Keep }

// Weight estimates the memory of the entry with its Codings, which grow, in bytes.
func (e *Entry) Weight() int { return e.Size() + e.Codings.size() }

// Size estimates the memory of the entry without its Codings, in bytes.
func (e *Entry) Size() int {
	const entry, field = 432, 96 // struct with its allocations; a map slot with its slice header
	n := entry + len(e.URL) + cap(e.Body) + 16*(len(e.Marks)+len(e.Soft))
	for name, values := range e.Header {
		n += field + len(name)
		for _, v := range values {
			n += 16 + len(v)
		}
	}
	for _, tag := range e.Tags {
		n += 16 + len(tag)
	}
	for i, name := range e.Vary {
		n += 32 + len(name) + len(e.Selecting[i])
	}
	return n
}

// stale returns a copy that is no longer fresh, also for requests that came a little before now.
func (e *Entry) stale(now time.Time) *Entry {
	old := *e
	old.Fresh = min(e.Fresh, now.Sub(e.Received)-time.Second)
	return &old
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
