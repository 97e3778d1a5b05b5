package rfc9111

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func seconds(n int) Delta { return Delta{true, time.Duration(n) * time.Second} }

func TestParseCacheControl(t *testing.T) {
	for _, tt := range []struct {
		says  string
		lines []string
		want  CacheControl
	}{
		{"nothing", nil, CacheControl{}},
		{"names are case-insensitive (5.2)", []string{"No-StOrE, PRIVATE"}, CacheControl{NoStore: true, Private: true}},
		{"lines are one list", []string{"max-age=1", "no-cache"}, CacheControl{MaxAge: seconds(1), NoCache: true}},
		{"empty members and whitespace", []string{" ,\t, public ,,"}, CacheControl{Public: true}},
		{"unknown directives are ignored (5.2.3)", []string{`foo, bar="x, no-store", must-revalidate`}, CacheControl{MustRevalidate: true}},
		{"the token form and the quoted form mean the same (5.2)", []string{`max-age="60"`}, CacheControl{MaxAge: seconds(60)}},
		{"an escape in a quoted form", []string{`max-age="6\0"`}, CacheControl{MaxAge: seconds(60)}},
		{"leading zeros", []string{"max-age=003600"}, CacheControl{MaxAge: seconds(3600)}},
		{"too large numbers are capped (1.2.2)", []string{"max-age=99999999999999999999999"}, CacheControl{MaxAge: Delta{true, maxDelta}}},
		{"invalid and missing numbers count as 0 (4.2.1)", []string{"max-age=abc, s-maxage"}, CacheControl{MaxAge: Delta{Set: true}, SMaxAge: Delta{Set: true}}},
		{"a sign, a fraction and other quotes are invalid", []string{"max-age=-1, s-maxage=1.5, min-fresh='9'"}, CacheControl{MaxAge: Delta{Set: true}, SMaxAge: Delta{Set: true}, MinFresh: Delta{Set: true}}},
		{"of two directives the first counts (4.2.1)", []string{"max-age=1, max-age=100"}, CacheControl{MaxAge: seconds(1)}},
		{"max-stale without a number is any staleness (5.2.1.2)", []string{"max-stale"}, CacheControl{MaxStale: Delta{true, maxDelta}}},
		{"max-stale with one", []string{"max-stale=5"}, CacheControl{MaxStale: seconds(5)}},
		{"no-cache for some fields (5.2.2.4)", []string{`no-cache="a, b-c"`}, CacheControl{NoCacheFields: []string{"A", "B-C"}}},
		{"no-cache without fields overrides no-cache with fields", []string{`no-cache="a", no-cache`}, CacheControl{NoCache: true, NoCacheFields: []string{"A"}}},
		{"private for a field in token form (5.2.2.7)", []string{`private=set-cookie`}, CacheControl{PrivateFields: []string{"Set-Cookie"}}},
		{"private with an empty list covers all", []string{`private=""`}, CacheControl{Private: true}},
		{"a comma within quotes does not separate", []string{`private="a, max-age=9", max-age=1`}, CacheControl{PrivateFields: []string{"A", "max-age=9"}, MaxAge: seconds(1)}},
		{"an unclosed quote hides nothing", []string{`ext="abc, no-store`}, CacheControl{NoStore: true}},
		{"text after a quoted string hides nothing", []string{`max-age="1"x, no-store`}, CacheControl{MaxAge: Delta{Set: true}, NoStore: true}},
		{"all other directives", []string{"must-understand, proxy-revalidate, only-if-cached, stale-while-revalidate=1, stale-if-error=2, min-fresh=3"}, CacheControl{
			MustUnderstand: true, ProxyRevalidate: true, OnlyIfCached: true, StaleWhileRevalidate: seconds(1), StaleIfErr: seconds(2), MinFresh: seconds(3),
		}},
	} {
		if diff := cmp.Diff(tt.want, ParseCacheControl(tt.lines)); diff != "" {
			t.Errorf("%s: %q (-want +got):\n%s", tt.says, tt.lines, diff)
		}
	}
}

// FuzzParseCacheControl checks that a directive before or after arbitrary text is found: only
// quotes around a no-store may hide it.
func FuzzParseCacheControl(f *testing.F) {
	for _, s := range []string{"", "max-age=1", `private="a,b"`, `x="`, `x="\`, "=,=", `no-cache="a"b`, "max-stale"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !ParseCacheControl([]string{s, "no-store"}).NoStore {
			t.Errorf("a line %q hides the next", s)
		}
		if !ParseCacheControl([]string{"no-store," + s}).NoStore {
			t.Errorf("%q hides the directive before it", s)
		}
		cc := ParseCacheControl([]string{s})
		for _, d := range []Delta{cc.MaxAge, cc.SMaxAge, cc.MinFresh, cc.MaxStale, cc.StaleWhileRevalidate, cc.StaleIfErr} {
			if d.Value < 0 || d.Value > maxDelta || !d.Set && d.Value != 0 {
				t.Errorf("%q gives the number %+v", s, d)
			}
		}
	})
}

func TestParseDate(t *testing.T) {
	now := time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)
	want := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	for _, tt := range []struct {
		says, text string
		want       time.Time // zero: refused
	}{
		{"IMF-fixdate", "Sun, 06 Nov 1994 08:49:37 GMT", want},
		{"obsolete RFC 850", "Sunday, 06-Nov-94 08:49:37 GMT", want},
		{"asctime", "Sun Nov  6 08:49:37 1994", want},
		{"asctime, two digits", "Sun Nov 16 08:49:37 1994", want.AddDate(0, 0, 10)},
		{"any case", "sUN, 06 nOV 1994 08:49:37 gMt", want},
		{"a wrong day of the week is ignored", "Mon, 06 Nov 1994 08:49:37 GMT", want},
		{"a leap second", "Sat, 31 Dec 2016 23:59:60 GMT", time.Date(2016, 12, 31, 23, 59, 59, 0, time.UTC)},
		{"two digits up to 50 years ahead", "Sunday, 06-Nov-75 08:49:37 GMT", want.AddDate(81, 0, 0)},
		{"two digits beyond 50 years are in the past", "Sunday, 06-Nov-76 08:49:37 GMT", want.AddDate(-18, 0, 0)},
		{"UTC is not GMT", "Sun, 06 Nov 1994 08:49:37 UTC", time.Time{}},
		{"a zone with an offset", "Sun, 06 Nov 1994 08:49:37 +00", time.Time{}},
		{"two digits in the wrong format", "Sun, 06 Nov 94 08:49:37 GMT", time.Time{}},
		{"two spaces", "Sun, 06  Nov 1994 08:49:37 GMT", time.Time{}},
		{"periods", "Sun, 06 Nov 1994 08.49.37 GMT", time.Time{}},
		{"a one-digit hour", "Sun, 06 Nov 1994 8:49:37 GMT", time.Time{}},
		{"a one-digit day", "Sun, 6 Nov 1994 08:49:37 GMT", time.Time{}},
		{"no such month", "Sun, 06 Foo 1994 08:49:37 GMT", time.Time{}},
		{"no such day", "Fri, 31 Feb 2025 08:49:37 GMT", time.Time{}},
		{"no such hour", "Sun, 06 Nov 1994 24:49:37 GMT", time.Time{}},
		{"zero", "0", time.Time{}},
		{"a day's name of wrong length", "Sun, 06-Nov-94 08:49:37 GMT", time.Time{}},
		{"leading space", " Sun, 06 Nov 1994 08:49:37 GMT", time.Time{}},
		{"nothing", "", time.Time{}},
	} {
		got, ok := ParseDate(tt.text, now)
		if ok != !tt.want.IsZero() || !got.Equal(tt.want) {
			t.Errorf("%s: %q is %v, %v; want %v", tt.says, tt.text, got, ok, tt.want)
		}
	}
}

// FuzzParseDate checks that every accepted date is one for the standard library too, and the same.
func FuzzParseDate(f *testing.F) {
	for _, s := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Thu, 29 Feb 2024 00:00:00 gmt"} {
		f.Add(s)
	}
	now := time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := ParseDate(s, now)
		if !ok {
			return
		}
		if again, ok := ParseDate(got.Format(http.TimeFormat), now); !ok || !again.Equal(got) {
			t.Errorf("%q is %v, which after formatting is %v, %v", s, got, again, ok)
		}
	})
}

// FuzzFreshness checks for arbitrary responses that no lifetime or age is negative, and that a
// response is not older than the time for which it may be served.
func FuzzFreshness(f *testing.F) {
	f.Add("max-age=5, s-maxage=7", "Sun, 06 Nov 1994 08:49:37 GMT", "0", "Sunday, 06-Nov-94 08:49:37 GMT")
	f.Add("public", "", "99999999999999999999", "Sun Nov  6 08:49:37 1994")
	f.Fuzz(func(t *testing.T, control, expires, age, modified string) {
		h := http.Header{"Cache-Control": {control}, "Expires": {expires}, "Age": {age}, "Last-Modified": {modified}}
		cc := ParseCacheControl(h["Cache-Control"])
		lifetime, source := Lifetime(200, h, &cc, received, true)
		if initial := InitialAge(h, received, received); lifetime < 0 || initial < 0 || source == Unknown && lifetime != 0 {
			t.Errorf("lifetime %v from %v, age %v", lifetime, source, initial)
		}
	})
}
