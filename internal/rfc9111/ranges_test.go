package rfc9111

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestSelectRanges(t *testing.T) {
	for _, tt := range []struct {
		says   string
		ranges string
		size   int64
		want   []Span
		refuse bool
	}{
		{"14.1.2: the first bytes", "bytes=0-4", 10, []Span{{0, 4}}, false},
		{"14.1.2: the last byte may lie beyond the end", "bytes=5-99", 10, []Span{{5, 9}}, false},
		{"14.1.2: to the end", "bytes=5-", 10, []Span{{5, 9}}, false},
		{"14.1.2: a suffix", "bytes=-3", 10, []Span{{7, 9}}, false},
		{"14.1.2: a suffix longer than the whole", "bytes=-30", 10, []Span{{0, 9}}, false},
		{"14.1.2: several, in the order of the request", "bytes=5-6, 0-1,,-1", 10, []Span{{5, 6}, {0, 1}, {9, 9}}, false},
		{"14.1.2: unsatisfiable ranges are left out", "bytes=0-0,10-", 10, []Span{{0, 0}}, false},
		{"15.5.17: beyond the end", "bytes=10-", 10, nil, true},
		{"15.5.17: a suffix of nothing", "bytes=-0", 10, nil, true},
		{"14.1.1: no range at all", "bytes=", 10, nil, false},
		{"14.1.1: the last before the first", "bytes=5-4", 10, nil, false},
		{"14.1.1: one malformed range invalidates all", "bytes=0-1,x-2", 10, nil, false},
		{"14.1.1: no number", "bytes=-", 10, nil, false},
		{"14.1.1: a sign", "bytes=+1-2", 10, nil, false},
		{"14.2: another unit is ignored", "lines=0-1", 10, nil, false},
		{"14.1: units are case-insensitive", "Bytes=0-1", 10, []Span{{0, 1}}, false},
		{"17.15: more bytes than the whole", "bytes=0-9,0-9", 10, nil, false},
		{"17.15: too many", "bytes=" + strings.Repeat("0-0,", MaxRanges+1), 100, nil, false},
		{"a very large number is capped", "bytes=0-99999999999999999999999", 10, []Span{{0, 9}}, false},
		{"an empty representation has no ranges", "bytes=0-", 0, nil, false},
	} {
		r := SelectRanges(header("Range", tt.ranges), header(), tt.size, received)
		if !slices.Equal(r.Spans(), tt.want) || r.Unsatisfiable != tt.refuse {
			t.Errorf("RFC 9110, %s: %q of %d gives %v, unsatisfiable %v", tt.says, tt.ranges, tt.size, r.Spans(), r.Unsatisfiable)
		}
	}
	if r := SelectRanges(header("Range", "bytes=0-1", "Range", "bytes=2-3"), header(), 10, received); len(r.Spans()) > 0 {
		t.Errorf("two Range fields give %v", r.Spans())
	}
}

func TestValidRange(t *testing.T) {
	for value, want := range map[string]bool{
		"bytes=0-4": true, "bytes=5-": true, "bytes=-3": true, "bytes=0-1, 5-,,-1": true, "bytes=99-": true, "bytes=-0": true,
		"": false, "bytes": false, "bytes=": false, "bytes=,": false, "bytes=5-4": false, "bytes=0-1,x": false, "bytes=evil": false,
		"lines=0-1": false, "Bytes=0-1": false,
	} {
		if got := ValidRange([]string{value}); got != want {
			t.Errorf("RFC 9110, 14.1.1: %q is valid: %v", value, got)
		}
	}
	if ValidRange(nil) || ValidRange([]string{"bytes=0-1", "bytes=0-1"}) {
		t.Error("RFC 9110, 14.2: there must be one Range")
	}
}

func TestIfRange(t *testing.T) {
	stored := header("Etag", `"a"`, "Last-Modified", at(-100), "Date", at(0))
	for _, tt := range []struct {
		says    string
		request http.Header
		stored  http.Header
		want    bool
	}{
		{"there is none", header(), stored, true},
		{"the strong tag", header("If-Range", `"a"`), stored, true},
		{"another tag", header("If-Range", `"b"`), stored, false},
		{"13.1.5: a weak tag never", header("If-Range", `W/"a"`), header("Etag", `W/"a"`), false},
		{"the date, exactly", header("If-Range", at(-100)), stored, true},
		{"a later date", header("If-Range", at(-99)), stored, false},
		{"8.8.2.2: a date that is not strong", header("If-Range", at(0)), header("Last-Modified", at(0), "Date", at(0)), false},
		{"8.8.2.2: without Date the date is not strong", header("If-Range", at(-100)), header("Last-Modified", at(-100)), false},
		{"two of them", header("If-Range", `"a"`, "If-Range", `"a"`), stored, false},
		{"an empty one", header("If-Range", ""), header(), false},
	} {
		if got := IfRange(tt.request, tt.stored, received); got != tt.want {
			t.Errorf("RFC 9110, 13.1.5: %s: %v", tt.says, got)
		}
	}
}

func TestMayCombine(t *testing.T) {
	dated := header("Last-Modified", at(-100), "Date", at(0))
	for _, tt := range []struct {
		says string
		a, b http.Header
		want bool
	}{
		{"the same strong tag", header("Etag", `"a"`), header("Etag", `"a"`), true},
		{"another", header("Etag", `"a"`), header("Etag", `"b"`), false},
		{"weak ones", header("Etag", `W/"a"`), header("Etag", `W/"a"`), false},
		{"a tag on one side only", header("Etag", `"a"`), dated, false},
		{"the same strong date", dated, dated, true},
		{"a weak tag beside the date", header("Etag", `W/"a"`, "Last-Modified", at(-100), "Date", at(0)), dated, false},
		{"no validator", header(), header(), false},
	} {
		if got := MayCombine(tt.a, tt.b, received); got != tt.want {
			t.Errorf("RFC 9111, 3.4: %s: %v", tt.says, got)
		}
	}
}

func TestParseContentRange(t *testing.T) {
	for value, want := range map[string]string{
		"bytes 0-4/10":  "{0 4}/10",
		"BYTES 5-9/10":  "{5 9}/10",
		"bytes 5-10/10": "", // 14.4: the last position is beyond the end
		"bytes 5-4/10":  "", // 14.4: the last position is before the first
		"bytes 0-4/*":   "",
		"bytes */10":    "",
		"lines 0-4/10":  "",
		"bytes 0-4":     "",
		"":              "",
	} {
		got := ""
		if span, complete, ok := ParseContentRange(value); ok {
			got = fmt.Sprintf("%v/%d", span, complete)
		}
		if got != want {
			t.Errorf("RFC 9110, 14.4: %q is %q, want %q", value, got, want)
		}
	}
}

func TestMissingAndJoin(t *testing.T) {
	for _, tt := range []struct {
		part Span
		want Span
		ok   bool
	}{
		{Span{0, 4}, Span{5, 9}, true},
		{Span{5, 9}, Span{0, 4}, true},
		{Span{2, 4}, Span{}, false},
		{Span{0, 9}, Span{}, false},
	} {
		if got, ok := Missing(tt.part, 10); got != tt.want || ok != tt.ok {
			t.Errorf("RFC 9111, 3.4: missing from %v of 10: %v, %v", tt.part, got, ok)
		}
	}
	whole := []byte("0123456789")
	for a := range whole {
		for b := range whole {
			first, got, ok := Join(int64(a), whole[a:min(a+3, 10)], int64(b), whole[b:min(b+4, 10)])
			touch := a <= min(b+4, 10) && b <= min(a+3, 10)
			if ok != touch || ok && !bytes.HasPrefix(whole[first:], got) {
				t.Errorf("RFC 9111, 3.4: parts at %d and %d join to %q at %d, %v", a, b, got, first, ok)
			}
		}
	}
}

// FuzzSelectRanges checks that spans lie within the representation and are not larger than it in
// total, and that a span survives Content-Range.
func FuzzSelectRanges(f *testing.F) {
	f.Add("bytes=0-4,-1,3-", int64(10))
	f.Add("bytes=-99999999999999999999", int64(1))
	f.Fuzz(func(t *testing.T, value string, size int64) {
		if size < 0 {
			return
		}
		r := SelectRanges(header("Range", value), header(), size, received)
		total := int64(0)
		for _, s := range r.Spans() {
			total += s.Len()
			if s.First < 0 || s.Last < s.First || s.Last >= size {
				t.Errorf("%q of %d: %v", value, size, s)
			}
			again, complete, ok := ParseContentRange(string(AppendContentRange(nil, s, size)))
			if size < 1<<59 && (!ok || again != s || complete != size) {
				t.Errorf("%v of %d is read again as %v of %d", s, size, again, complete)
			}
		}
		if total > size || r.Unsatisfiable && total > 0 {
			t.Errorf("%q of %d: %v", value, size, r.Spans())
		}
		ParseContentRange(value) // must end
	})
}

// BenchmarkRange measures serving a range of a stored response.
func BenchmarkRange(b *testing.B) {
	request := header("Range", "bytes=100-199", "If-Range", `"abcdef"`)
	stored := header("Etag", `"abcdef"`)
	b.ReportAllocs()
	for b.Loop() {
		if r := SelectRanges(request, stored, 1000, received); len(r.Spans()) != 1 {
			b.Fatal("no range")
		}
	}
}
