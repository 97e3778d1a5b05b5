package cache

import (
	"net/http"
	"strings"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// Managed routes ask the upstream for identity only, store that, and encode for each client. So
// there is one entry for all clients, and ranges, which are always of identity, never mix codings.
// Hits are encoded once and kept (see Codings); responses from the upstream are encoded while they
// stream (see encodedBody). Encoded content has weak validators, since it is not byte for byte what
// the strong one names (RFC 9110, 8.8.3.3). A weak one still matches in If-None-Match, here and
// upstream, and never in If-Range.

// minEncoded is the smallest content that is encoded, in bytes: content that fits into a packet
// gains nothing.
const minEncoded = 1024

// acceptIdentity is the Accept-Encoding of managed routes.
var acceptIdentity = []string{"identity"}

// want is the coding that one request gets.
type want struct {
	coding int  // index of codings; -1: none, identity
	must   bool // identity is not acceptable
}

// wanted evaluates Accept-Encoding (RFC 9110, 12.5.3) and no-transform (RFC 9111, 5.2.1.6).
func wanted(ex *exchange.Exchange, cc *rfc9111.CacheControl) want {
	if !ex.Route.Cache.Encode || cc.NoTransform {
		return want{coding: -1}
	}
	coding, identity := rfc9111.PreferredCoding(ex.View.Header.Values("Accept-Encoding"), codings[:])
	return want{coding, !identity}
}

// encodable reports whether a response may be encoded, its length aside: its media type compresses
// well, and the upstream neither encodes it nor forbids that (RFC 9110, 7.7). Such responses have
// Vary whether they are encoded or not.
func encodable(status int, h http.Header) bool {
	switch status {
	case http.StatusNoContent, http.StatusResetContent, http.StatusPartialContent, http.StatusNotModified:
		return false
	}
	return status >= 200 && h.Get("Content-Encoding") == "" &&
		compressible(mediaType(h)) && !rfc9111.NoTransform(h)
}

// mediaType returns the Content-Type without parameters, in lower case.
func mediaType(h http.Header) string {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// compressible lists the media types worth encoding. Live streams are not: their parts are short
// and sent at once.
func compressible(media string) bool {
	if endless(media) {
		return false
	}
	switch media {
	case "application/json", "application/javascript", "application/x-javascript", "application/xml", "application/x-ndjson",
		"application/wasm", "font/ttf", "font/otf":
		return true
	}
	return strings.HasPrefix(media, "text/") || strings.HasSuffix(media, "+json") || strings.HasSuffix(media, "+xml")
}

// untrue are the fields of identity that are wrong for encoded content: its length, its digests
// (RFC 9530), and that it has ranges.
var untrue = [...]string{"Content-Length", "Accept-Ranges", "Content-Digest", "Repr-Digest", "Digest", "Content-Md5"}

// recode turns the header of identity into that of a coding, or of a 304 for it. tag is the ETag of
// the encoded content; nil: none.
func recode(h http.Header, status, coding int, tag []string) {
	for _, name := range untrue {
		delete(h, name)
	}
	if status != http.StatusNotModified {
		h["Content-Encoding"] = codingFields[coding]
	}
	if tag != nil {
		h["Etag"] = tag
	}
}

// weakTag is the ETag of encoded content; nil if identity has none.
func weakTag(h http.Header) []string {
	switch tag := h.Get("ETag"); {
	case tag == "":
		return nil
	case strings.HasPrefix(tag, "W/"):
		return []string{tag}
	default:
		return []string{"W/" + tag}
	}
}

// mayMix reports whether a request may combine ranges of identity with a part in another coding:
// its If-Range is not a strong entity tag, and a date is the same in every coding. Such a request
// gets everything instead (RFC 9110, 14.2).
func mayMix(ex *exchange.Exchange, cc *rfc9111.CacheControl) bool {
	h := ex.View.Header
	condition := h.Get("If-Range")
	return condition != "" && !strings.HasPrefix(condition, `"`) && h.Get("Range") != "" && wanted(ex, cc).coding >= 0
}

// withoutRange makes a request ask for the whole representation.
func withoutRange(ex *exchange.Exchange, r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	delete(r.Header, "Range")
	delete(r.Header, "If-Range")
	ex.View.Header = r.Header
	return r
}
