package ratelimit

import (
	"net/http"
	"strconv"
	"time"
)

// The versions of the IETF's fields that a policy may ask for.
const (
	draft06 = "draft-06" // RateLimit-Limit, -Remaining and -Reset
	draft07 = "draft-07" // RateLimit: limit=100, remaining=50, reset=30
	draft10 = "draft-10" // RateLimit: "name";r=50;t=30
)

// The fields, as net/http spells them.
const (
	fieldList      = "Ratelimit"
	fieldPolicy    = "Ratelimit-Policy"
	fieldLimit     = "Ratelimit-Limit"
	fieldRemaining = "Ratelimit-Remaining"
	fieldReset     = "Ratelimit-Reset"
	legacyPrefix   = "X-"
)

// setHeaders tells the client what it has left, in the version of
// draft-ietf-httpapi-ratelimit-headers that the policy names. Copies from the
// upstream are replaced: they speak of other limits. A shadow limit is not told
// of.
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

// addLists writes RateLimit-Policy and RateLimit of draft 10, structured lists
// with a member a limit. A quota q with window w is the burst and the time in
// which it comes back whole. The policy keeps names to what a structured string
// can hold.
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

// maxFields is how many header fields setHeaders sets at most.
const maxFields = 7

// fields are header fields whose values are written one after the other into one
// text: one allocation for all.
type fields struct {
	text  []byte
	names [maxFields]string
	ends  [maxFields]int // of the values in text
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

// end gives what was written since the last end to a field, by its canonical name.
func (f *fields) end(name string) {
	f.names[f.n], f.ends[f.n] = name, len(f.text)
	f.n++
}

// set sets the fields, with room for their values.
func (f *fields) set(h http.Header, room *[maxFields]string) {
	text, start := string(f.text), 0
	for i := range f.n {
		room[i] = text[start:f.ends[i]]
		start = f.ends[i]
		h[f.names[i]] = room[i : i+1 : i+1]
	}
}

// window is the time in which a whole quota comes back, in seconds.
func (q *limited) window(i int) int { return seconds(q.charges[i].Quota.Whole()) }

// reset is when it is worth asking again, in seconds: when the quota is whole,
// or for a refusal when the same request would pass.
func (q *limited) reset(i int) int {
	if r := q.results[i]; !r.Allowed {
		return seconds(r.RetryAfter)
	}
	return seconds(q.results[i].ResetAfter)
}

// seconds rounds up: a client that comes back then must not be early.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
