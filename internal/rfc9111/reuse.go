package rfc9111

import "time"

// Stored is what Reuse must know about a stored response.
type Stored struct {
	Age        time.Duration // current_age (RFC 9111, 4.2.3)
	Remaining  time.Duration // until it is stale; negative: it is stale
	NoCache    bool          // it has no-cache: validate before each use (5.2.2.4)
	NeverStale bool          // it must not be served stale: must-revalidate and the like (4.2.4)
}

// Use says how a stored response may be used.
type Use int

// The results of Reuse.
const (
	Serve           Use = iota // serve it without validation
	ValidateStale              // validate it: it is stale, or requires it
	ValidateRequest            // validate it: the request requires it
)

// Reuse decides whether a stored response answers a request with the directives cc (RFC 9111, 4 and
// 5.2.1). It ignores only-if-cached, which says what to do if the response must not be served.
func Reuse(cc *CacheControl, s Stored) Use {
	switch {
	case s.NoCache:
		return ValidateStale
	case cc.NoCache:
		return ValidateRequest
	case cc.MaxAge.Set && s.Age > cc.MaxAge.Value:
		return ValidateRequest
	case cc.MaxAge.Set && cc.MaxAge.Value == 0:
		return ValidateRequest // validate even within the first second
	case s.Remaining <= 0:
		if cc.MaxStale.Set && !s.NeverStale && -s.Remaining <= cc.MaxStale.Value {
			return Serve
		}
		return ValidateStale
	case cc.MinFresh.Set && s.Remaining < cc.MinFresh.Value:
		return ValidateRequest
	}
	return Serve
}

// ForbidsStale reports whether a response must not be served stale, by any cache or by a shared one
// (RFC 9111, 4.2.4). s-maxage implies proxy-revalidate (5.2.2.10).
func ForbidsStale(cc *CacheControl, shared bool) bool {
	return cc.MustRevalidate || cc.NoCache || shared && (cc.ProxyRevalidate || cc.SMaxAge.Set)
}

// MayServeStale implements RFC 9111, 4.2.4, and RFC 5861: a response may be served for window after
// it became stale, unless it forbids that. With a window of 0 it may not, even at that very moment.
func MayServeStale(s Stored, window time.Duration) bool {
	return !s.NeverStale && !s.NoCache && -s.Remaining < window
}

// FailedStatus reports whether a status is a failure for which stale-if-error
// lets a stale response be served (RFC 5861, 4).
func FailedStatus(status int) bool {
	switch status {
	case 500, 502, 503, 504:
		return true
	}
	return false
}
