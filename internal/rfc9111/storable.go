package rfc9111

import (
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Candidate is a response to a GET that might be stored, with the relevant parts of its request.
type Candidate struct {
	Status     int
	Header     http.Header
	Response   *CacheControl // of the response
	Request    *CacheControl // of the request
	Authorized bool          // the request carried Authorization
	Shared     bool          // the cache answers more than one user
	Lifetime   Source        // of its freshness; Explicit if a policy sets it
	Window     time.Duration // how long it may be used without validation, fresh or stale
}

// Refusal says why a response is not stored, as a token (RFC 9651, 3.3.4); "" if it may be stored.
type Refusal string

// The refusals of Storable.
const (
	Accepted       Refusal = ""
	RefusedStatus  Refusal = "status"           // not final, specific to its request, or not understood
	RefusedRequest Refusal = "request-no-store" // the client forbids storing
	RefusedNoStore Refusal = "no-store"
	RefusedPrivate Refusal = "private"
	RefusedAuth    Refusal = "authorization"
	RefusedVary    Refusal = "vary" // matches no other request (4.1)
	RefusedUseless Refusal = "no-lifetime"
)

// Storable decides whether a response may be stored (RFC 9111, 3). Beyond the standard it refuses
// responses that could never be used: those with Vary: *, and those that can neither be used
// without validation nor validated.
func Storable(c Candidate) Refusal {
	rc := c.Response
	switch {
	case c.Status < 200 || ofItsRequest(c.Status):
		return RefusedStatus
	case rc.MustUnderstand && !understood(c.Status): // 5.2.2.3
		return RefusedStatus
	case c.Request.NoStore:
		return RefusedRequest
	case rc.NoStore && !rc.MustUnderstand: // 5.2.2.3
		return RefusedNoStore
	case c.Shared && rc.Private:
		return RefusedPrivate
	case c.Shared && c.Authorized && !rc.Public && !rc.MustRevalidate && !rc.SMaxAge.Set: // 3.5
		return RefusedAuth
	case VariesOnAll(c.Header):
		return RefusedVary
	case (c.Window <= 0 || rc.NoCache) && !HasValidator(c.Header):
		return RefusedUseless
	case c.Lifetime == Explicit || HeuristicallyCacheable(c.Status) || rc.Public || rc.Private && !c.Shared:
		return Accepted
	}
	return RefusedStatus
}

// ofItsRequest lists statuses that depend on parts of the request outside of any key, such as a
// condition, a range, or the size or number of requests: if stored, they would answer unrelated
// requests. RFC 6585 forbids storing the statuses that it defines.
func ofItsRequest(status int) bool {
	switch status {
	case http.StatusNotModified, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge,
		http.StatusRequestedRangeNotSatisfiable, http.StatusExpectationFailed, http.StatusMisdirectedRequest,
		http.StatusPreconditionRequired, http.StatusTooManyRequests, http.StatusRequestHeaderFieldsTooLarge,
		http.StatusNetworkAuthenticationRequired:
		return true
	}
	return false
}

// StorablePost reports whether the response to a POST may be stored to answer later GETs of the
// same URI (RFC 9110, 9.3.3): its Content-Location is the target itself, and its freshness is
// explicit.
func StorablePost(target *url.URL, status int, h http.Header, lifetime Source) bool {
	location := h.Get("Content-Location")
	if status != http.StatusOK || lifetime != Explicit || location == "" {
		return false
	}
	u, err := target.Parse(location)
	return err == nil && Origin(u) == Origin(target) && u.EscapedPath() == target.EscapedPath() && u.RawQuery == target.RawQuery
}

// understood reports whether this cache knows the caching rules of a status (RFC 9111, 3 and
// 5.2.2.3).
func understood(status int) bool {
	switch status {
	case 200, 203, 204, 206, 300, 301, 302, 303, 307, 308,
		400, 401, 403, 404, 405, 410, 414, 451, 500, 501, 502, 503, 504:
		return true
	}
	return false
}

// hopByHop are the fields of one connection or one proxy, which a cache does not store (RFC 9111,
// 3.1; RFC 9110, 7.6.1).
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// StoredHeader returns a copy of a response's header for storing (RFC 9111, 3.1): without fields of
// the connection, and without those named by a qualified no-cache (5.2.2.4) or, in a shared cache,
// private (5.2.2.7). Age is left out, since it is computed again for every use.
func StoredHeader(h http.Header, cc *CacheControl, shared bool) http.Header {
	drop := slices.Concat(hopByHop, cc.NoCacheFields, []string{"Age"})
	if shared {
		drop = append(drop, cc.PrivateFields...)
	}
	for _, line := range h["Connection"] {
		drop = append(drop, fieldNames(line)...)
	}
	stored := make(http.Header, len(h))
	for name, values := range h {
		if !slices.Contains(drop, name) {
			stored[name] = slices.Clone(values)
		}
	}
	return stored
}
