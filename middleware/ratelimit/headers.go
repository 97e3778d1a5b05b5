package ratelimit

import (
	"net/http"
	"strconv"
	"time"
)

// The versions of the IETF draft that a policy may select.
const (
	draft06 = "draft-06" // RateLimit-Limit, -Remaining and -Reset
	draft07 = "draft-07" // RateLimit: limit=100, remaining=50, reset=30
	draft10 = "draft-10" // RateLimit: "name";r=50;t=30
)

// The field names in net/http's canonical form.
const (
	fieldList      = "Ratelimit"
	fieldPolicy    = "Ratelimit-Policy"
	fieldLimit     = "Ratelimit-Limit"
	fieldRemaining = "Ratelimit-Remaining"
	fieldReset     = "Ratelimit-Reset"
	legacyPrefix   = "X-"
)

// setHeaders tells the client its remaining quota, in the version of
// draft-ietf-httpapi-ratelimit-headers that the policy names. It replaces fields from the upstream,
// which describe other limits. Shadow limits are not reported.
func (q *limited) setHeaders(h http.Header) {
	t := q.tightest()
	if t < 0 {
		return
	}
	f := fields{text: q.text[:0]}
	cfg := &q.ex.Snapshot.Policy.RateLimit.Headers
	limit, left, reset := q.charges[t].Quota.Burst, q.results[t].Remaining, q.reset(t)
	switch cfg.IETF {
	case draft10:
		q.addLists(&f)
	case draft07:
		f.int("limit=", limit).int(", remaining=", left).int(", reset=", reset).end(fieldList)
		f.int("", limit).int(";w=", q.window(t)).end(fieldPolicy)
	case draft06:
		f.int("", limit).end(fieldLimit)
		f.int("", left).end(fieldRemaining)
		f.int("", reset).end(fieldReset)
		f.int("", limit).int(";w=", q.window(t)).end(fieldPolicy)
	}
	if cfg.Legacy {
		f.int("", limit).end(legacyPrefix + fieldLimit)
		f.int("", left).end(legacyPrefix + fieldRemaining)
		f.int("", int(q.ex.View.Now.Unix())+reset).end(legacyPrefix + fieldReset)
	}
	f.set(h, &q.fields)
}

// addLists writes RateLimit-Policy and RateLimit of draft 10: structured lists with one member for
// each limit. q is the burst, and w the time in which an empty bucket fills. The policy only allows
// names that fit a structured string.
func (q *limited) addLists(f *fields) {
	separator := `"`
	for i, l := range q.limits {
		if !l.Shadow {
			f.string(separator).string(l.Name).int(`";q=`, q.charges[i].Quota.Burst).int(";w=", q.window(i))
			separator = `, "`
		}
	}
	f.end(fieldPolicy)
	separator = `"`
	for i, l := range q.limits {
		if !l.Shadow {
			f.string(separator).string(l.Name).int(`";r=`, q.results[i].Remaining).int(";t=", q.reset(i))
			separator = `, "`
		}
	}
	f.end(fieldList)
}

// maxFields is the most header fields that setHeaders sets.
const maxFields = 7

// fields builds header values one after the other in one buffer, so that all of them share one
// allocation.
type fields struct {
	text  []byte
	names [maxFields]string
	ends  [maxFields]int // where each value ends in text
	n     int
}

func (f *fields) string(s string) *fields {
	f.text = append(f.text, s...)
	return f
}

func (f *fields) int(before string, n int) *fields {
	f.text = strconv.AppendInt(append(f.text, before...), int64(n), 10)
	return f
}

// end assigns the text written since the last end to a field, given by its canonical name.
func (f *fields) end(name string) {
	f.names[f.n], f.ends[f.n] = name, len(f.text)
	f.n++
}

// set copies the fields into h; room holds their values.
func (f *fields) set(h http.Header, room *[maxFields]string) {
	text, start := string(f.text), 0
	for i := range f.n {
		room[i] = text[start:f.ends[i]]
		start = f.ends[i]
		h[f.names[i]] = room[i : i+1 : i+1]
	}
}

// window is the time in which an empty bucket fills, in seconds.
func (q *limited) window(i int) int { return seconds(q.charges[i].Quota.Whole()) }

// reset is the seconds until the bucket is full or, for a refusal, until the same request would
// pass.
func (q *limited) reset(i int) int {
	if r := q.results[i]; !r.Allowed {
		return seconds(r.RetryAfter)
	}
	return seconds(q.results[i].ResetAfter)
}

// seconds rounds up, so that a client which waits that long is never early.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
