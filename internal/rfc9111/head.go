package rfc9111

import "net/http"

// HeadConfirms reports whether the 200 to a HEAD speaks of the stored response
// to a GET whose content has the given length, so that it updates it (RFC 9111,
// 4.3.5): each validator that it has is the stored one, and so is
// Content-Length. Else the stored response counts as stale; and so it does where
// the HEAD lacks a validator that it has, since nothing then says that both are
// of one representation.
func HeadConfirms(stored, head http.Header, length string) bool {
	for _, name := range [...]string{"Etag", "Last-Modified"} {
		if head.Get(name) != stored.Get(name) {
			return false
		}
	}
	got := head["Content-Length"]
	return len(got) == 0 || got[0] == length
}
