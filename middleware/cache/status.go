package cache

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/dunglas/httpsfv"
)

const statusField = "Cache-Status"

// Why requests go upstream (RFC 9211, 2.2).
const (
	forwardMiss    = "uri-miss"
	forwardVary    = "vary-miss"
	forwardStale   = "stale"
	forwardPartial = "partial"
	forwardRequest = "request"
	forwardMethod  = "method"
	forwardBypass  = "bypass"
)

// What Facts.Cache says.
const (
	factHit         = "hit"
	factMiss        = "miss"
	factStale       = "stale"
	factRevalidated = "revalidated"
	factBypass      = "bypass"
)

// hitStatus is the member of Cache-Status for a response from the store (RFC
// 9211, 2.1, 2.5, 2.8). A negative ttl says that it is stale.
func hitStatus(ttl time.Duration, tier string) string {
	var buf [64]byte
	b := append(buf[:0], "edge; hit; ttl="...)
	seconds := int64(ttl / time.Second)
	if ttl < 0 && seconds == 0 {
		seconds = -1 // stale by less than a second is stale
	}
	b = strconv.AppendInt(b, seconds, 10)
	if tier != "" {
		b = append(b, "; detail="...)
		b = append(b, tier...)
	}
	return string(b)
}

// forwarded is the member of Cache-Status for a request that went upstream (RFC
// 9211, 2.2, 2.3, 2.6).
type forwarded struct {
	why    string
	status int // the upstream's; 0: it gave none
	stored bool
	detail string // a token, or ""
}

func (f forwarded) String() string {
	s := "edge; fwd=" + f.why
	if f.status != 0 {
		s += "; fwd-status=" + strconv.Itoa(f.status)
	}
	if f.stored {
		s += "; stored"
	}
	if f.detail != "" {
		s += "; detail=" + f.detail
	}
	return s
}

// addStatus appends a member: those of caches nearer to the origin come first
// (RFC 9211, 2).
func addStatus(h http.Header, member string) {
	h[statusField] = append(slices.Clip(h[statusField]), member)
}

// dropInvalidStatus removes the members of other caches where they are no List
// (RFC 9651, 3.1) or an empty one, since they would make the whole field unreadable.
func dropInvalidStatus(h http.Header) {
	if lines := h[statusField]; len(lines) > 0 {
		if list, err := httpsfv.UnmarshalList(lines); err != nil || len(list) == 0 {
			delete(h, statusField)
		}
	}
}
