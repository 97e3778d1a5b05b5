package cache

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/jewgo/gateway/internal/exchange"
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

// The values of Facts.Cache.
const (
	factHit         = "hit"
	factMiss        = "miss"
	factStale       = "stale"
	factRevalidated = "revalidated"
	factBypass      = "bypass"
	factCollapsed   = "collapsed"
)

// hitStatus is the member of Cache-Status for a response from the store (RFC 9211, 2.1, 2.4, 2.7,
// 2.8). A negative ttl means stale. key is the result of shownKey.
func hitStatus(ttl time.Duration, detail, key string) string {
	var buf [64]byte
	b := append(buf[:0], "edge; hit; ttl="...)
	seconds := int64(ttl / time.Second)
	if ttl < 0 && seconds == 0 {
		seconds = -1 // less than a second stale is still stale
	}
	b = strconv.AppendInt(b, seconds, 10)
	if key != "" {
		b = append(append(b, "; key="...), key...)
	}
	if detail != "" {
		b = append(append(b, "; detail="...), detail...)
	}
	return string(b)
}

// shownKey is the key parameter of Cache-Status (RFC 9211, 2.7): "" unless the policy's debug is
// on. No request can ask for it.
func shownKey(ex *exchange.Exchange, key string) string {
	if !ex.Snapshot.Policy.Cache.Debug || key == "" {
		return ""
	}
	text, _ := httpsfv.Marshal(httpsfv.NewItem(key)) // "" if key is not a valid String
	return text
}

// forwarded is the member of Cache-Status for a request that went upstream (RFC 9211, 2.2, 2.3, 2.5
// to 2.8), or would have without another one in progress.
type forwarded struct {
	why       string
	status    int // the upstream's; 0: none
	stored    bool
	collapsed bool   // it waited for another request's response
	key       string // the result of shownKey
	detail    string // a token, or ""
}

func (f forwarded) String() string {
	s := "edge; fwd=" + f.why
	if f.status != 0 {
		s += "; fwd-status=" + strconv.Itoa(f.status)
	}
	if f.stored {
		s += "; stored"
	}
	if f.collapsed {
		s += "; collapsed"
	}
	if f.key != "" {
		s += "; key=" + f.key
	}
	if f.detail != "" {
		s += "; detail=" + f.detail
	}
	return s
}

// addStatus appends a member: caches nearer to the origin come first (RFC 9211, 2).
func addStatus(h http.Header, member string) {
	h[statusField] = append(slices.Clip(h[statusField]), member)
}

// dropInvalidStatus removes the other caches' members if they are not a List (RFC 9651, 3.1) or an
// empty one, which would make the whole field unreadable.
func dropInvalidStatus(h http.Header) {
	if lines := h[statusField]; len(lines) > 0 {
		if list, err := httpsfv.UnmarshalList(lines); err != nil || len(list) == 0 {
			delete(h, statusField)
		}
	}
}
