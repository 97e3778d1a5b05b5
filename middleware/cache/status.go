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

// What Facts.Cache says.
const (
	factHit         = "hit"
	factMiss        = "miss"
	factStale       = "stale"
	factRevalidated = "revalidated"
	factBypass      = "bypass"
	factCollapsed   = "collapsed"
)

// hitStatus is the member of Cache-Status for a response from the store (RFC
// 9211, 2.1, 2.4, 2.7, 2.8). A negative ttl says that it is stale; key is what
// shownKey gives.
func hitStatus(ttl time.Duration, detail, key string) string {
	var buf [64]byte
	b := append(buf[:0], "edge; hit; ttl="...)
	seconds := int64(ttl / time.Second)
	if ttl < 0 && seconds == 0 {
		seconds = -1 // stale by less than a second is stale
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

// shownKey is what Cache-Status says of a key (RFC 9211, 2.7): nothing, unless
// the operator debugs. No request can ask for it.
func shownKey(ex *exchange.Exchange, key string) string {
	if !ex.Snapshot.Policy.Cache.Debug || key == "" {
		return ""
	}
	text, _ := httpsfv.Marshal(httpsfv.NewItem(key)) // "" for what is no String, and then nothing is said
	return text
}

// forwarded is the member of Cache-Status for a request that went upstream (RFC
// 9211, 2.2, 2.3, 2.5 to 2.8), or would have without another that was on its way.
type forwarded struct {
	why       string
	status    int // the upstream's; 0: it gave none
	stored    bool
	collapsed bool   // it waited for the answer to another request
	key       string // what shownKey gives
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
