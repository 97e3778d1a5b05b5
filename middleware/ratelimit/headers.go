package ratelimit

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/problem"
)

// setHeaders writes both families: RateLimit and RateLimit-Policy of
// draft-ietf-httpapi-ratelimit-headers-10, a list with a member a limit, and
// X-RateLimit-*, which knows one limit, the tightest, and gives Reset as Unix
// time. A quota q with window w is the burst and the time in which it comes
// back whole. Copies from the upstream are replaced.
func setHeaders(h http.Header, charged []applied, tightest applied, now time.Time) {
	var policies, states strings.Builder
	for i, a := range charged {
		if i > 0 {
			policies.WriteString(", ")
			states.WriteString(", ")
		}
		q := a.limit.Quota
		member(&policies, a.limit.Name, "q", q.Burst, "w", seconds(q.Interval()*time.Duration(q.Burst)))
		member(&states, a.limit.Name, "r", a.result.Remaining, "t", reset(a))
	}
	h.Set("RateLimit-Policy", policies.String())
	h.Set("RateLimit", states.String())
	h.Set("X-RateLimit-Limit", strconv.Itoa(tightest.limit.Quota.Burst))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(tightest.result.Remaining))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(now.Unix()+int64(reset(tightest)), 10))
}

// member writes one member of a structured list: "name";a=1;b=2. The policy
// keeps names to what a structured string can hold.
func member(b *strings.Builder, name, k1 string, v1 int, k2 string, v2 int) {
	b.WriteString(strconv.Quote(name))
	for _, p := range []struct {
		key   string
		value int
	}{{k1, v1}, {k2, v2}} {
		b.WriteString(";" + p.key + "=" + strconv.Itoa(p.value))
	}
}

// reset is when it is worth asking again, in seconds: when the quota is whole,
// or for a refusal when the same request would pass.
func reset(a applied) int {
	if !a.result.Allowed {
		return seconds(a.result.RetryAfter)
	}
	return seconds(a.result.ResetAfter)
}

// seconds rounds up: a client that comes back then must not be early.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// refuse answers 429 (RFC 6585, 4) with Retry-After and the problem type that
// the draft registers.
func refuse(w http.ResponseWriter, a applied) {
	w.Header().Set("Retry-After", strconv.Itoa(max(1, seconds(a.result.RetryAfter))))
	problem.Write(w, problem.Problem{
		Status:     http.StatusTooManyRequests,
		Type:       "https://iana.org/assignments/http-problem-types#quota-exceeded",
		Title:      "Request cannot be satisfied as assigned quota has been exceeded",
		Extensions: map[string]any{"violated-policies": []string{a.limit.Name}},
	})
}
