package ratelimit

import (
	"net/http"
	"strconv"
	"time"

	"github.com/jewgo/gateway/policy"
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
	cfg := &q.ex.Snapshot.Policy.RateLimit.Headers
	limit, left, reset := q.charges[t].Quota.Burst, q.results[t].Remaining, q.reset(t)
	switch cfg.IETF {
	case draft10:
		q.setLists(h)
	case draft07:
		q.set(h, fieldList, "limit="+strconv.Itoa(limit)+", remaining="+strconv.Itoa(left)+", reset="+strconv.Itoa(reset))
		q.set(h, fieldPolicy, strconv.Itoa(limit)+";w="+strconv.Itoa(q.window(t)))
	case draft06:
		q.set(h, fieldLimit, strconv.Itoa(limit))
		q.set(h, fieldRemaining, strconv.Itoa(left))
		q.set(h, fieldReset, strconv.Itoa(reset))
		q.set(h, fieldPolicy, strconv.Itoa(limit)+";w="+strconv.Itoa(q.window(t)))
	}
	if cfg.Legacy {
		q.set(h, legacyPrefix+fieldLimit, strconv.Itoa(limit))
		q.set(h, legacyPrefix+fieldRemaining, strconv.Itoa(left))
		q.set(h, legacyPrefix+fieldReset, strconv.FormatInt(q.ex.View.Now.Unix()+int64(reset), 10))
	}
}

// setLists writes RateLimit-Policy and RateLimit of draft 10, structured lists
// with a member a limit. A quota q with window w is the burst and the time in
// which it comes back whole.
func (q *limited) setLists(h http.Header) {
	policies, states := make([]byte, 0, 64), make([]byte, 0, 64)
	for i, l := range q.limits {
		if l.Shadow {
			continue
		}
		policies = q.member(policies, l, pair{'q', q.charges[i].Quota.Burst}, pair{'w', q.window(i)})
		states = q.member(states, l, pair{'r', q.results[i].Remaining}, pair{'t', q.reset(i)})
	}
	q.set(h, fieldPolicy, string(policies))
	q.set(h, fieldList, string(states))
}

// set is h.Set for a canonical name, without an allocation for the value's slice.
func (q *limited) set(h http.Header, name, value string) {
	if q.fields == nil {
		q.fields = q.room.fields[:0]
	}
	q.fields = append(q.fields, value)
	n := len(q.fields)
	h[name] = q.fields[n-1 : n : n]
}

type pair struct {
	key   byte
	value int
}

// member appends one member of a structured list: "name";a=1;b=2. The policy
// keeps names to what a structured string can hold.
func (q *limited) member(b []byte, l *policy.Limit, pairs ...pair) []byte {
	if len(b) > 0 {
		b = append(b, ", "...)
	}
	b = append(append(append(b, '"'), l.Name...), '"')
	for _, p := range pairs {
		b = strconv.AppendInt(append(b, ';', p.key, '='), int64(p.value), 10)
	}
	return b
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
