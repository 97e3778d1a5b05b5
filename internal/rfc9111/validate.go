package rfc9111

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// RemoveConditions makes a request unconditional (RFC 9110, 13.1).
func RemoveConditions(request http.Header) {
	for _, name := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"} {
		delete(request, name)
	}
}

// HasValidator reports whether a response can be validated (RFC 9111, 4.3.1).
func HasValidator(h http.Header) bool { return h.Get("ETag") != "" || h.Get("Last-Modified") != "" }

// AddConditions makes a request validate a stored response; the conditions replace those of the
// request (RFC 9111, 4.3.1). Range and If-Range stay: they apply only if the stored response is
// outdated (RFC 9110, 13.2.2), and then only a part of the new one is needed.
func AddConditions(request, stored http.Header) {
	ifRange := request["If-Range"]
	RemoveConditions(request)
	if len(ifRange) > 0 {
		request["If-Range"] = ifRange
	}
	if tag := stored.Get("ETag"); tag != "" {
		request.Set("If-None-Match", tag)
	}
	if changed := stored.Get("Last-Modified"); changed != "" {
		request.Set("If-Modified-Since", changed)
	}
}

// NotModified reports whether to answer a conditional GET or HEAD with 304 instead of a stored
// response with this status and header (RFC 9111, 4.3.2; RFC 9110, 13.2.2). If-None-Match overrides
// If-Modified-Since. Date replaces a missing Last-Modified.
func NotModified(request Fields, status int, stored http.Header, now time.Time) bool {
	if status != http.StatusOK && status != http.StatusPartialContent {
		return false
	}
	if lines := request.Values("If-None-Match"); len(lines) > 0 {
		return slices.ContainsFunc(lines, func(line string) bool { return anyMatches(line, stored.Get("ETag")) })
	}
	lines := request.Values("If-Modified-Since")
	if len(lines) != 1 {
		return false
	}
	since, ok := ParseDate(lines[0], now)
	if !ok {
		return false
	}
	last := stored.Get("Last-Modified")
	if last == "" {
		last = stored.Get("Date")
	}
	changed, ok := ParseDate(last, now)
	return ok && !changed.After(since)
}

// anyMatches compares a list of entity tags with one tag, weakly (RFC 9110, 8.8.3.2 and 13.1.2).
func anyMatches(list, tag string) bool {
	if trim(list) == "*" {
		return true
	}
	tag = strings.TrimPrefix(tag, "W/")
	for list != "" {
		list = strings.TrimLeft(list, " \t,")
		item := strings.TrimPrefix(list, "W/")
		if !strings.HasPrefix(item, `"`) { // not an entity tag: skip to the next comma
			_, list, _ = strings.Cut(list, ",")
			continue
		}
		end := strings.IndexByte(item[1:], '"')
		if end < 0 {
			return false
		}
		if item[:end+2] == tag {
			return true
		}
		list = item[end+2:]
	}
	return false
}

// Confirms reports whether a 304 is about the stored response: if it has an entity tag, it must be
// the stored one; a weak tag is compared weakly (RFC 9111, 4.3.4).
func Confirms(stored, update http.Header) bool {
	tag, known := update.Get("ETag"), stored.Get("ETag")
	return tag == "" || tag == known || strings.HasPrefix(tag, "W/") && tag[2:] == strings.TrimPrefix(known, "W/")
}

// HeadConfirms reports whether a 200 to HEAD confirms the stored response to a GET, whose content
// has the given length, and so may update it (RFC 9111, 4.3.5): all validators must be equal, and
// Content-Length too if the HEAD has it. Otherwise the stored response counts as stale, even if the
// HEAD merely lacks a stored validator: then nothing shows that both are of the same
// representation.
func HeadConfirms(stored, head http.Header, length string) bool {
	for _, name := range [...]string{"Etag", "Last-Modified"} {
		if head.Get(name) != stored.Get(name) {
			return false
		}
	}
	got := head["Content-Length"]
	return len(got) == 0 || got[0] == length
}

// keptFields are not updated by a 304, since they describe how to read the stored content (RFC
// 9111, 3.2).
var keptFields = []string{"Content-Encoding", "Content-Length", "Content-Range"}

// Freshen returns a stored response's header updated by a 304's (RFC 9111, 3.2 and 4.3.4). update
// must have passed StoredHeader. Neither argument is changed.
func Freshen(stored, update http.Header) http.Header {
	h := stored.Clone()
	for name, values := range update {
		if !slices.Contains(keptFields, name) {
			h[name] = slices.Clone(values)
		}
	}
	return h
}

// OmitFrom304 reports whether a field describes content and is therefore omitted from a 304 (RFC
// 9110, 15.4.5).
func OmitFrom304(name string) bool {
	switch name {
	case "Content-Type", "Content-Length", "Content-Encoding", "Content-Language", "Content-Range":
		return true
	}
	return false
}
