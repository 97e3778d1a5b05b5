package rfc9111

import (
	"net/http"
	"testing"
)

func TestPreferredCoding(t *testing.T) {
	codings := []string{"zstd", "br", "gzip"}
	for _, tt := range []struct {
		says     string
		values   []string
		want     string
		identity bool
	}{
		{"no field", nil, "", true},
		{"an empty field", []string{""}, "", true},
		{"among equal weights the server's order decides", []string{"gzip, deflate, br, zstd"}, "zstd", true},
		{"two lines are one list", []string{"gzip;q=0.5", "br"}, "br", true},
		{"the greatest weight", []string{"zstd;q=0.2, br;q=0.3, gzip;q=0.9"}, "gzip", true},
		{"the smallest weight is accepted", []string{"br;q=0.001"}, "br", true},
		{"a weight of zero is a refusal", []string{"zstd;q=0, br;q=0.000, gzip"}, "gzip", true},
		{"nothing but refusals", []string{"gzip;q=0"}, "", true},
		{"any", []string{"*"}, "zstd", true},
		{"any but one", []string{"zstd;q=0, *"}, "br", true},
		{"any coding, with a lower weight", []string{"gzip, *;q=0.1"}, "gzip", true},
		{"unnamed codings are refused", []string{"gzip, *;q=0"}, "gzip", false},
		{"nothing at all", []string{"*;q=0"}, "", false},
		{"identity only", []string{"identity, *;q=0"}, "", true},
		{"identity refused", []string{"identity;q=0, br"}, "br", false},
		{"identity refused, and no known coding", []string{"identity;q=0, deflate"}, "", false},
		{"identity preferred", []string{"identity, gzip;q=0.5"}, "", true},
		{"identity with the weight of a coding", []string{"identity, gzip"}, "gzip", true},
		{"* includes identity", []string{"gzip;q=0.5, *;q=0"}, "gzip", false},
		{"names in any case, with whitespace", []string{" GZIP ;Q=1 "}, "gzip", true},
		{"the older name", []string{"x-gzip"}, "gzip", true},
		{"unknown codings", []string{"deflate, compress"}, "", true},
		{"an invalid weight counts as 1", []string{"gzip;q=junk, br;q=0.9"}, "gzip", true},
	} {
		coding, identity := PreferredCoding(tt.values, codings)
		got := ""
		if coding >= 0 {
			got = codings[coding]
		}
		if got != tt.want || identity != tt.identity {
			t.Errorf("RFC 9110, 12.5.3: %s: %q gives %q, identity acceptable %v; want %q, %v", tt.says, tt.values, got, identity, tt.want, tt.identity)
		}
	}
	if n := testing.AllocsPerRun(100, func() { PreferredCoding([]string{"gzip, deflate, br;q=0.9, zstd"}, codings) }); n > 1 { // the list itself
		t.Errorf("%v allocations", n)
	}
}

func TestNoTransform(t *testing.T) {
	for value, want := range map[string]bool{"max-age=1, No-Transform": true, "max-age=1": false, `x="no-transform"`: false} {
		if NoTransform(http.Header{"Cache-Control": {value}}) != want {
			t.Errorf("RFC 9111, 5.2.2.6: %q forbids transforming: %v", value, !want)
		}
	}
	if NoTransform(http.Header{"Cdn-Cache-Control": {"no-transform"}}) {
		t.Error("the directive counts outside of Cache-Control")
	}
}
