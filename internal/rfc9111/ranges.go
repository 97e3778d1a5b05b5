package rfc9111

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxRanges bounds the ranges of one request; a request for more gets the full response (RFC 9110,
// 14.2 and 17.15).
const MaxRanges = 16

// Span is a range of bytes, both ends inclusive (RFC 9110, 14.1.2).
type Span struct{ First, Last int64 }

// Len is the number of bytes in the span.
func (s Span) Len() int64 { return s.Last - s.First + 1 }

// Within reports whether all of s lies in other.
func (s Span) Within(other Span) bool { return s.First >= other.First && s.Last <= other.Last }

// Ranges says which parts of a representation to send. The zero value means all of it.
type Ranges struct {
	Unsatisfiable bool // 416 (RFC 9110, 15.5.17)
	n             int
	spans         [MaxRanges]Span
}

// Spans returns the satisfiable ranges in the order of the request. If there are none, the answer
// is the whole representation or a 416.
func (r *Ranges) Spans() []Span { return r.spans[:r.n] }

// SelectRanges decides which bytes of a representation of the given size answer a GET (RFC 9110,
// 14.2). It is all of them if there is no Range, if If-Range does not match, if Range is malformed
// or in another unit, and if it asks for more bytes than there are.
func SelectRanges(request Fields, stored http.Header, size int64, now time.Time) (r Ranges) {
	lines := request.Values("Range")
	if len(lines) != 1 || size == 0 || !IfRange(request, stored, now) {
		return Ranges{}
	}
	set, ok := bytesRanges(lines[0])
	if !ok {
		return Ranges{}
	}
	seen, total := false, int64(0)
	for set != "" {
		var spec string
		spec, set, _ = strings.Cut(set, ",")
		if spec = trim(spec); spec == "" {
			continue
		}
		seen = true
		span, verdict := parseSpec(spec, size)
		switch {
		case verdict == malformed || verdict == satisfiable && r.n == MaxRanges:
			return Ranges{}
		case verdict == satisfiable:
			r.spans[r.n] = span
			r.n++
			total += span.Len()
		}
	}
	if !seen || total > size {
		return Ranges{}
	}
	r.Unsatisfiable = r.n == 0
	return r
}

// ValidRange reports whether the lines of Range ask for bytes as the grammar has it (RFC 9110,
// 14.1.1 and 14.2). What a server makes of anything else is its own affair.
func ValidRange(lines []string) bool {
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "bytes=") {
		return false
	}
	seen := false
	for spec := range strings.SplitSeq(lines[0][len("bytes="):], ",") {
		if spec = trim(spec); spec == "" {
			continue
		}
		if _, v := parseSpec(spec, 1); v == malformed {
			return false
		}
		seen = true
	}
	return seen
}

func bytesRanges(value string) (set string, ok bool) {
	unit, set, ok := strings.Cut(value, "=")
	return set, ok && strings.EqualFold(trim(unit), "bytes")
}

type verdict int

const (
	malformed verdict = iota
	satisfiable
	unsatisfiable
)

// parseSpec reads one int-range or suffix-range (RFC 9110, 14.1.1 and 14.1.2).
func parseSpec(spec string, size int64) (Span, verdict) {
	from, to, ok := strings.Cut(spec, "-")
	first, hasFirst := position(from)
	last, hasLast := position(to)
	switch {
	case !ok || from != "" && !hasFirst || to != "" && !hasLast || from == "" && to == "":
		return Span{}, malformed
	case from == "": // suffix-range: the last bytes
		if last == 0 {
			return Span{}, unsatisfiable
		}
		return Span{max(0, size-last), size - 1}, satisfiable
	case to == "":
		last = size - 1
	case last < first:
		return Span{}, malformed
	}
	if first >= size {
		return Span{}, unsatisfiable
	}
	return Span{first, min(last, size-1)}, satisfiable
}

// position reads digits; a number that is too large counts as the largest one.
func position(s string) (n int64, ok bool) {
	const largest = 1 << 59 // ten times this still fits in an int64
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = min(n*10+int64(s[i]-'0'), largest)
	}
	return n, true
}

// IfRange reports whether a request's Range applies to a stored response (RFC 9110, 13.1.5): there
// is no If-Range, or it equals the stored strong validator. A date must match exactly.
func IfRange(request Fields, stored http.Header, now time.Time) bool {
	lines := request.Values("If-Range")
	if len(lines) == 0 {
		return true
	}
	value := trim(lines[0])
	if len(lines) > 1 || value == "" {
		return false
	}
	if tag := StrongTag(stored); tag != "" && value == tag {
		return true
	}
	since, ok := ParseDate(value, now)
	if !ok {
		return false
	}
	changed, strong := strongDate(stored, now)
	return strong && changed.Equal(since)
}

// StrongTag returns a response's strong entity tag, or "" (RFC 9110, 8.8.3).
func StrongTag(h http.Header) string {
	tag := h.Get("ETag")
	if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return ""
	}
	return tag
}

// strongDate returns Last-Modified if it is a strong validator: Date is at least one second later
// (RFC 9110, 8.8.2.2).
func strongDate(h http.Header, now time.Time) (time.Time, bool) {
	changed, ok := ParseDate(h.Get("Last-Modified"), now)
	if !ok {
		return time.Time{}, false
	}
	made, ok := ParseDate(h.Get("Date"), now)
	return changed, ok && made.Sub(changed) >= time.Second
}

// StrongValidator returns the If-Range value for a stored response: its strong tag, else its strong
// date, else "" (RFC 9110, 13.1.5).
func StrongValidator(h http.Header, now time.Time) string {
	if tag := StrongTag(h); tag != "" {
		return tag
	}
	if _, ok := strongDate(h, now); ok && h.Get("ETag") == "" {
		return h.Get("Last-Modified")
	}
	return ""
}

// MayCombine reports whether two partial responses belong to the same representation: they share a
// strong validator (RFC 9111, 3.4; RFC 9110, 15.3.7.3).
func MayCombine(a, b http.Header, now time.Time) bool {
	validator := StrongValidator(a, now)
	return validator != "" && validator == StrongValidator(b, now)
}

// ParseContentRange reads the Content-Range of a 206 (RFC 9110, 14.4). It returns false if the
// field is invalid, in another unit, or without the complete length, since it would then be unknown
// whether the content is complete.
func ParseContentRange(value string) (span Span, complete int64, ok bool) {
	unit, value, ok := strings.Cut(trim(value), " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return Span{}, 0, false
	}
	value, size, ok1 := strings.Cut(value, "/")
	from, to, ok2 := strings.Cut(value, "-")
	first, ok3 := position(from)
	last, ok4 := position(to)
	complete, ok5 := position(size)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || last < first || complete <= last {
		return Span{}, 0, false
	}
	return Span{first, last}, complete, true
}

// AppendContentRange appends the Content-Range of a span (RFC 9110, 14.4).
func AppendContentRange(b []byte, s Span, complete int64) []byte {
	b = strconv.AppendInt(append(b, "bytes "...), s.First, 10)
	b = strconv.AppendInt(append(b, '-'), s.Last, 10)
	return strconv.AppendInt(append(b, '/'), complete, 10)
}

// Missing returns the one range that completes a part (RFC 9111, 3.4), or false if bytes are
// missing at both ends.
func Missing(part Span, complete int64) (Span, bool) {
	switch {
	case part.First == 0 && part.Last < complete-1:
		return Span{part.Last + 1, complete - 1}, true
	case part.First > 0 && part.Last == complete-1:
		return Span{0, part.First - 1}, true
	}
	return Span{}, false
}

// Join combines two parts of one representation that touch or overlap; MayCombine must have allowed
// it. In an overlap b counts. It returns the position of the first byte, or false if there is a
// gap.
func Join(aFirst int64, a []byte, bFirst int64, b []byte) (first int64, joined []byte, ok bool) {
	aEnd, bEnd := aFirst+int64(len(a)), bFirst+int64(len(b))
	if aFirst > bEnd || bFirst > aEnd {
		return 0, nil, false
	}
	first = min(aFirst, bFirst)
	joined = make([]byte, max(aEnd, bEnd)-first)
	copy(joined[aFirst-first:], a)
	copy(joined[bFirst-first:], b)
	return first, joined, true
}
