package rfc9111

import (
	"net/http"
	"net/url"
	"strings"
)

// Invalidates reports whether a response to the method invalidates stored responses for the same
// URI (RFC 9111, 4.4): the method is not known to be safe, and the response is not an error.
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

// InvalidatedToo returns the URIs in Location and Content-Location that are invalidated besides
// target, which is absolute (RFC 9111, 4.4). Only URIs of the same origin count, so that one server
// cannot purge another's responses.
func InvalidatedToo(target *url.URL, h http.Header) (more []*url.URL) {
	for _, name := range []string{"Location", "Content-Location"} {
		value := h.Get(name)
		if value == "" {
			continue
		}
		if u, err := target.Parse(value); err == nil && Origin(u) == Origin(target) {
			more = append(more, u)
		}
	}
	return more
}

// Origin returns the origin of an absolute http or https URI: its scheme, host
// and port (RFC 9110, 4.3.1), lower case and without the port that the scheme
// implies.
func Origin(u *url.URL) string {
	scheme := strings.ToLower(u.Scheme)
	port := map[string]string{"http": ":80", "https": ":443"}[scheme]
	return scheme + "://" + strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(u.Host), port), ":")
}
