package rfc9111

import (
	"net/http"
	"net/url"
	"strings"
)

// Invalidates reports whether a response to the method makes stored responses
// for the same URI invalid (RFC 9111, 4.4): any method that is not known to be
// safe, answered without an error.
func Invalidates(method string, status int) bool {
	return Unsafe(method) && status >= 200 && status < 400
}

// Unsafe reports whether a method is not known to be safe (RFC 9110, 9.2.1; RFC
// 10008 for QUERY).
func Unsafe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, "QUERY", "PROPFIND", "REPORT", "SEARCH":
		return false
	}
	return true
}

// InvalidatedToo returns the URIs in Location and Content-Location that are
// invalidated beside the target, which is absolute (RFC 9111, 4.4): those of
// the same host alone, lest one server purge another's responses. Scheme and
// port are not compared, since the origin need not know those its clients use.
func InvalidatedToo(target *url.URL, h http.Header) (more []*url.URL) {
	for _, name := range []string{"Location", "Content-Location"} {
		value := h.Get(name)
		if value == "" {
			continue
		}
		if u, err := target.Parse(value); err == nil && strings.EqualFold(u.Hostname(), target.Hostname()) {
			more = append(more, u)
		}
	}
	return more
}
