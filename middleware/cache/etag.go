package cache

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// identify gives a whole response without any validator a strong entity tag, so that clients can
// revalidate it here: a hash of its content and of the fields that say how to read it (RFC 9110,
// 8.8.3). It is the same on every gateway.
//
// The upstream does not know the tag. Conditions that the gateway sends upstream never contain it
// (see Entry.OwnTag); such an entry is filled again. A client's If-None-Match is passed on as it
// is, and matches nothing there.
func (e *Entry) identify() {
	if e.Status != http.StatusOK || e.partial() || rfc9111.HasValidator(e.Header) {
		return
	}
	hash := sha256.New()
	for _, name := range contentFields {
		_, _ = hash.Write(part(nil, e.Header.Get(name)))
	}
	_, _ = hash.Write(e.Body)
	e.Header = maps.Clone(e.Header) // copies by outdate share it
	e.Header["Etag"] = []string{`"` + base64.RawURLEncoding.EncodeToString(hash.Sum(nil)[:16]) + `"`}
	e.OwnTag = true
}

// origin is the upstream's part of the header.
func (e *Entry) origin() http.Header {
	if !e.OwnTag {
		return e.Header
	}
	h := maps.Clone(e.Header)
	delete(h, "Etag")
	return h
}
