package rfc9111

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Without explicit lifetime, a response is fresh for 1/heuristicShare of the time since its last
// change, at most heuristicMax (RFC 9111, 4.2.2).
const (
	heuristicShare = 10
	heuristicMax   = 24 * time.Hour
)

// Source is where a freshness lifetime comes from.
type Source int

// The sources of freshness lifetimes.
const (
	Unknown   Source = iota // no lifetime: the response is stale at once
	Heuristic               // estimated from Last-Modified
	Explicit                // stated by the origin
)

// Lifetime returns the freshness lifetime of a response received at the given time, for a shared or
// a private cache (RFC 9111, 4.2.1). An explicit lifetime may be 0, and is at most 2^31 seconds,
// like any delta.
func Lifetime(status int, h http.Header, cc *CacheControl, received time.Time, shared bool) (time.Duration, Source) {
	switch {
	case shared && cc.SMaxAge.Set:
		return cc.SMaxAge.Value, Explicit
	case cc.MaxAge.Set:
		return cc.MaxAge.Value, Explicit
	}
	if lines := h["Expires"]; len(lines) > 0 && !cc.Targeted {
		expires, ok := ParseDate(lines[0], received)
		if !ok || slices.ContainsFunc(lines[1:], func(s string) bool { return s != lines[0] }) {
			return 0, Explicit // an invalid date, or several: already expired (5.3)
		}
		return min(max(0, expires.Sub(date(h, received))), maxDelta), Explicit
	}
	return heuristic(status, h, cc, received)
}

// heuristic implements RFC 9111, 4.2.2.
func heuristic(status int, h http.Header, cc *CacheControl, received time.Time) (time.Duration, Source) {
	if !HeuristicallyCacheable(status) && !cc.Public {
		return 0, Unknown
	}
	changed, ok := ParseDate(h.Get("Last-Modified"), received)
	if !ok {
		return 0, Unknown
	}
	since := date(h, received).Sub(changed)
	return max(0, min(since/heuristicShare, heuristicMax)), Heuristic
}

// HeuristicallyCacheable reports whether a status may be cached without explicit permission by the
// origin (RFC 9110, 15.1).
func HeuristicallyCacheable(status int) bool {
	switch status {
	case 200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// InitialAge returns the age of a response when it was received (RFC 9111, 4.2.3:
// corrected_initial_age); sent is when the request was sent. It is at most 2^31 seconds (1.2.2),
// even if Date is centuries ago, so that no sum overflows.
func InitialAge(h http.Header, sent, received time.Time) time.Duration {
	apparent := max(0, received.Sub(date(h, received)))
	corrected := age(h) + max(0, received.Sub(sent))
	return min(max(apparent, corrected), maxDelta)
}

// date returns the Date field, or received if there is none (RFC 9110, 6.6.1).
func date(h http.Header, received time.Time) time.Time {
	if d, ok := ParseDate(h.Get("Date"), received); ok {
		return d
	}
	return received
}

// age returns the Age field. Of a list the first member counts; an invalid number is ignored (RFC
// 9111, 5.1).
func age(h http.Header) time.Duration {
	first, _, _ := strings.Cut(h.Get("Age"), ",")
	return parseDelta(trim(first))
}
