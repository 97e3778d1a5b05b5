package rfc9111

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	received = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)
	minute   = time.Minute
)

// date n seconds after received.
func at(n int) string {
	return received.Add(time.Duration(n) * time.Second).Format(http.TimeFormat)
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func control(text string) *CacheControl {
	cc := ParseCacheControl([]string{text})
	return &cc
}

func TestLifetime(t *testing.T) {
	for _, tt := range []struct {
		says   string
		status int
		header http.Header
		want   time.Duration
		source Source
	}{
		{"4.2.1: s-maxage comes first in a shared cache", 200, header("Cache-Control", "max-age=1, s-maxage=60", "Expires", at(5)), minute, Explicit},
		{"4.2.1: then max-age", 200, header("Cache-Control", "max-age=60", "Expires", at(5)), minute, Explicit},
		{"4.2.1: then Expires minus Date", 200, header("Date", at(-10), "Expires", at(50)), minute, Explicit},
		{"4.2.1: Expires without Date counts from the receipt", 200, header("Expires", at(60)), minute, Explicit},
		{"5.3: an invalid Expires is expired", 200, header("Expires", "0", "Last-Modified", at(-8640)), 0, Explicit},
		{"5.3: an Expires in the past is expired", 200, header("Expires", at(-60)), 0, Explicit},
		{"4.2.1: two different Expires are invalid", 200, header("Expires", at(60), "Expires", at(90)), 0, Explicit},
		{"4.2.1: two equal Expires count as one", 200, header("Expires", at(60), "Expires", at(60)), minute, Explicit},
		{"4.2.2: a tenth of the time since the last change", 200, header("Date", at(0), "Last-Modified", at(-600)), minute, Heuristic},
		{"4.2.2: at most a day", 200, header("Last-Modified", at(-86400*365)), 24 * time.Hour, Heuristic},
		{"4.2.2: a Last-Modified in the future gives no lifetime", 200, header("Last-Modified", at(60)), 0, Heuristic},
		{"4.2.2: only for certain statuses", 201, header("Last-Modified", at(-600)), 0, Unknown},
		{"4.2.2: or with public", 599, header("Last-Modified", at(-600), "Cache-Control", "public"), minute, Heuristic},
		{"4.2.2: no Last-Modified", 200, header("Date", at(0)), 0, Unknown},
	} {
		cc := ParseCacheControl(tt.header["Cache-Control"])
		got, source := Lifetime(tt.status, tt.header, &cc, received, true)
		if got != tt.want || source != tt.source {
			t.Errorf("%s: %v, source %v; want %v, source %v", tt.says, got, source, tt.want, tt.source)
		}
	}
	if got, _ := Lifetime(200, header(), control("s-maxage=60, max-age=5"), received, false); got != 5*time.Second {
		t.Errorf("5.2.2.10: s-maxage in a private cache gives %v", got)
	}
}

func TestInitialAge(t *testing.T) {
	for _, tt := range []struct {
		says   string
		header http.Header
		delay  time.Duration
		want   time.Duration
	}{
		{"4.2.3: nothing known", header(), 0, 0},
		{"4.2.3: by Date", header("Date", at(-60)), 0, minute},
		{"4.2.3: a Date in the future gives no negative age", header("Date", at(60)), 0, 0},
		{"4.2.3: Age plus the response time", header("Age", "50"), 10 * time.Second, minute},
		{"4.2.3: the larger one counts", header("Age", "50", "Date", at(-120)), 0, 2 * minute},
		{"5.1: the first member of a list counts", header("Age", "60, 0"), 0, minute},
		{"5.1: the first line counts", header("Age", "60", "Age", "0"), 0, minute},
		{"5.1: an invalid number is ignored", header("Age", "-60"), 0, 0},
		{"5.1: a fraction is ignored", header("Age", "60.5"), 0, 0},
		{"1.2.2: a large number is capped", header("Age", "99999999999999"), 0, maxDelta},
	} {
		if got := InitialAge(tt.header, received.Add(-tt.delay), received); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.says, got, tt.want)
		}
	}
}

func TestReuse(t *testing.T) {
	fresh := Stored{Age: minute, Remaining: minute}
	stale := Stored{Age: 3 * minute, Remaining: -minute}
	for _, tt := range []struct {
		says    string
		request string
		stored  Stored
		want    Use
	}{
		{"4: fresh", "", fresh, Serve},
		{"4: stale", "", stale, ValidateStale},
		{"4.2: at the end of its lifetime it is not fresh", "", Stored{Remaining: 0}, ValidateStale},
		{"5.2.2.4: response no-cache", "", Stored{Remaining: minute, NoCache: true}, ValidateStale},
		{"5.2.1.1: max-age above the age", "max-age=61", fresh, Serve},
		{"5.2.1.1: max-age below the age", "max-age=59", fresh, ValidateRequest},
		{"5.2.1.1: max-age=0 at once", "max-age=0", Stored{Remaining: minute}, ValidateRequest},
		{"5.2.1.2: max-stale covers it", "max-stale=60", stale, Serve},
		{"5.2.1.2: max-stale does not cover it", "max-stale=59", stale, ValidateStale},
		{"5.2.1.2: max-stale without a number", "max-stale", stale, Serve},
		{"4.2.4: max-stale against must-revalidate", "max-stale", Stored{Remaining: -minute, NeverStale: true}, ValidateStale},
		{"5.2.1.2: max-stale against response no-cache", "max-stale", Stored{Remaining: -minute, NoCache: true}, ValidateStale},
		{"5.2.1.2: max-age limits max-stale", "max-stale, max-age=120", stale, ValidateRequest},
		{"5.2.1.3: the remaining time is min-fresh", "min-fresh=60", fresh, Serve},
		{"5.2.1.3: the remaining time is below min-fresh", "min-fresh=61", fresh, ValidateRequest},
		{"5.2.1.4: no-cache", "no-cache", fresh, ValidateRequest},
		{"5.2.1.7: only-if-cached changes nothing here", "only-if-cached", fresh, Serve},
		{"5.2.3: an unknown directive changes nothing", "nothing-to-see-here", fresh, Serve},
	} {
		if got := Reuse(control(tt.request), tt.stored); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.says, got, tt.want)
		}
	}
}

func TestServingStale(t *testing.T) {
	for _, tt := range []struct {
		says   string
		text   string
		shared bool
		want   bool
	}{
		{"5.2.2.2: must-revalidate", "must-revalidate", false, true},
		{"5.2.2.8: proxy-revalidate, shared", "proxy-revalidate", true, true},
		{"5.2.2.8: proxy-revalidate, private", "proxy-revalidate", false, false},
		{"5.2.2.10: s-maxage, shared", "s-maxage=1", true, true},
		{"5.2.2.4: no-cache", "no-cache", true, true},
		{"5.2.2.4: no-cache for a field", `no-cache="a"`, true, false},
		{"nothing", "max-age=1", true, false},
	} {
		if got := ForbidsStale(control(tt.text), tt.shared); got != tt.want {
			t.Errorf("%s: forbids stale: %v", tt.says, got)
		}
	}
	stale := Stored{Remaining: -minute}
	if !MayServeStale(stale, minute+1) || MayServeStale(stale, minute) || MayServeStale(Stored{}, 0) {
		t.Error("RFC 5861: the window is not respected")
	}
	if MayServeStale(Stored{Remaining: -minute, NeverStale: true}, time.Hour) || MayServeStale(Stored{Remaining: -minute, NoCache: true}, time.Hour) {
		t.Error("4.2.4: a response that forbids it is served stale")
	}
	for status, want := range map[int]bool{500: true, 502: true, 503: true, 504: true, 501: false, 404: false, 200: false} {
		if FailedStatus(status) != want {
			t.Errorf("RFC 5861, 4: status %d is a failure: %v", status, !want)
		}
	}
}

func TestStorable(t *testing.T) {
	for _, tt := range []struct {
		says      string
		candidate Candidate // Status 200, Shared and explicitly fresh unless said otherwise
		response  string
		request   string
		header    http.Header
		private   bool
		want      Refusal
	}{
		{says: "3: an ordinary response", want: Accepted},
		{says: "3: a status that is not final", candidate: Candidate{Status: 103}, want: RefusedStatus},
		{says: "3.3: 206, by a cache that knows ranges", candidate: Candidate{Status: 206}, want: Accepted},
		{says: "15.5.17: 416 depends on a range", candidate: Candidate{Status: 416}, want: RefusedStatus},
		{says: "15.5.13: 412 depends on a condition", candidate: Candidate{Status: 412}, want: RefusedStatus},
		{says: "413 depends on a size", candidate: Candidate{Status: 413}, want: RefusedStatus},
		{says: "431 depends on a size", candidate: Candidate{Status: 431}, want: RefusedStatus},
		{says: "3: 304", candidate: Candidate{Status: 304}, want: RefusedStatus},
		{says: "3: an unknown status with explicit freshness", candidate: Candidate{Status: 299}, want: Accepted},
		{says: "5.2.2.3: an unknown status with must-understand", candidate: Candidate{Status: 299}, response: "must-understand", want: RefusedStatus},
		{says: "5.2.2.3: must-understand overrides no-store", response: "must-understand, no-store", want: Accepted},
		{says: "5.2.2.3: but not for an unknown status", candidate: Candidate{Status: 299}, response: "must-understand, no-store", want: RefusedStatus},
		{says: "5.2.2.5: no-store", response: "no-store", want: RefusedNoStore},
		{says: "5.2.1.5: request no-store", request: "no-store", want: RefusedRequest},
		{says: "5.2.2.7: private, shared", response: "private", want: RefusedPrivate},
		{says: "5.2.2.7: private, private", response: "private", private: true, want: Accepted},
		{says: "5.2.2.7: private for a field", response: `private="a"`, want: Accepted},
		{says: "3.5: Authorization", candidate: Candidate{Authorized: true}, want: RefusedAuth},
		{says: "3.5: in a private cache", candidate: Candidate{Authorized: true}, private: true, want: Accepted},
		{says: "3.5: with public", candidate: Candidate{Authorized: true}, response: "public", want: Accepted},
		{says: "3.5: with must-revalidate", candidate: Candidate{Authorized: true}, response: "must-revalidate", want: Accepted},
		{says: "3.5: with s-maxage", candidate: Candidate{Authorized: true}, response: "s-maxage=1", want: Accepted},
		{says: "4.1: Vary: *", header: header("Vary", "a, *"), want: RefusedVary},
		{says: "3: heuristic freshness of a 200", candidate: Candidate{Lifetime: Heuristic}, want: Accepted},
		{says: "3: heuristic freshness of a 201", candidate: Candidate{Status: 201, Lifetime: Heuristic}, want: RefusedStatus},
		{says: "3: heuristic freshness of a 599 with public", candidate: Candidate{Status: 599, Lifetime: Heuristic}, response: "public", want: Accepted},
		{says: "4.3: no freshness, a validator", candidate: Candidate{Lifetime: Unknown, Window: -1}, header: header("ETag", `"a"`), want: Accepted},
		{says: "no freshness, no validator", candidate: Candidate{Lifetime: Unknown, Window: -1}, want: RefusedUseless},
		{says: "no-cache, no validator", response: "no-cache", want: RefusedUseless},
		{says: "no-cache, a validator", response: "no-cache", header: header("Last-Modified", at(-1)), want: Accepted},
	} {
		c := tt.candidate
		if c.Status == 0 {
			c.Status = 200
		}
		if c.Lifetime == Unknown && c.Window == 0 {
			c.Lifetime = Explicit
		}
		if c.Window == 0 {
			c.Window = minute
		}
		c.Header, c.Response, c.Request, c.Shared = tt.header, control(tt.response), control(tt.request), !tt.private
		if got := Storable(c); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.says, got, tt.want)
		}
	}
}

func TestStoredHeader(t *testing.T) {
	h := header(
		"Connection", "close, X-Hop", "X-Hop", "1", "Te", "x", "Upgrade", "x", "Trailer", "x", "Transfer-Encoding", "x", "Keep-Alive", "x",
		"Proxy-Authenticate", "x", "Proxy-Authentication-Info", "x", "Proxy-Connection", "x", "Age", "5",
		"A", "1", "B", "2", "C", "3", "Content-Type", "text/plain", "Set-Cookie", "a=b",
	)
	cc := control(`no-cache="a", private="b"`)
	got := StoredHeader(h, cc, true)
	if want := header("C", "3", "Content-Type", "text/plain", "Set-Cookie", "a=b"); len(got) != len(want) || got.Get("C") != "3" || got.Get("Set-Cookie") != "a=b" {
		t.Errorf("3.1: stored %v, want %v", got, want)
	}
	if got := StoredHeader(h, cc, false); got.Get("B") != "2" || got.Get("A") != "" {
		t.Errorf("5.2.2.7: a private cache stores %v", got)
	}
	got["C"][0] = "changed"
	if h.Get("C") != "3" {
		t.Error("the response's header shares memory with the stored one")
	}
}

func TestSelecting(t *testing.T) {
	for _, tt := range []struct {
		says string
		name string
		a, b []string
		same bool
	}{
		{"the same", "X-A", []string{"1"}, []string{"1"}, true},
		{"another value", "X-A", []string{"1"}, []string{"2"}, false},
		{"absent and absent", "X-A", nil, nil, true},
		{"absent and empty", "X-A", nil, []string{""}, false},
		{"lines are combined", "X-A", []string{"1, 2"}, []string{"1", "2"}, true},
		{"whitespace around commas", "X-A", []string{" 1 ,2"}, []string{"1,   2"}, true},
		{"order matters in an unknown field", "X-A", []string{"1, 2"}, []string{"2, 1"}, false},
		{"so does case", "X-A", []string{"a"}, []string{"A"}, false},
		{"languages in any order", "Accept-Language", []string{"en, de"}, []string{"de,en"}, true},
		{"languages in any case", "Accept-Language", []string{"EN"}, []string{"en"}, true},
		{"languages by weight", "Accept-Language", []string{"en;q=0.5, de"}, []string{"de;q=1.0, en;q=0.50"}, true},
		{"another weight", "Accept-Language", []string{"en;q=0.5, de"}, []string{"en, de;q=0.5"}, false},
		{"a weight of zero differs from no weight", "Accept-Encoding", []string{"gzip;q=0"}, []string{"gzip"}, false},
		{"a member twice", "Accept-Encoding", []string{"gzip, gzip"}, []string{"gzip"}, true},
	} {
		a, b := Selecting(tt.name, tt.a), Selecting(tt.name, tt.b)
		if (a == b) != tt.same {
			t.Errorf("4.1: %s: %q and %q, from %q and %q", tt.says, a, b, tt.a, tt.b)
		}
	}
}

// FuzzSelecting checks that normalising is stable, and that a present field is
// never taken for an absent one.
func FuzzSelecting(f *testing.F) {
	f.Add("gzip;q=0.5, br", "de, en;q=0.999")
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.Contains(a+b, "\x00") {
			return // not a field value: net/http refuses NUL
		}
		for _, name := range []string{"X-A", "Accept-Language"} {
			one := Selecting(name, []string{a, b})
			if one == absent || one != Selecting(name, []string{a + "," + b}) {
				t.Errorf("%s: %q, %q give %q on two lines, but %q on one", name, a, b, one, Selecting(name, []string{a + "," + b}))
			}
		}
	})
}

func TestVaryNames(t *testing.T) {
	if got, want := VaryNames(header("Vary", "b, A", "Vary", ",a")), []string{"A", "B"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	for value, want := range map[string]bool{"*": true, ", *": true, "foo, *": true, "": false, "foo*": false} {
		if VariesOnAll(header("Vary", value)) != want {
			t.Errorf("4.1: Vary: %q varies on all: %v", value, !want)
		}
	}
}

func TestNotModified(t *testing.T) {
	stored := header("ETag", `"a"`, "Last-Modified", at(-100))
	for _, tt := range []struct {
		says    string
		request http.Header
		status  int
		stored  http.Header
		want    bool
	}{
		{"no condition", header(), 200, stored, false},
		{"4.3.2: the tag", header("If-None-Match", `"a"`), 200, stored, true},
		{"13.1.2: weak comparison, weak in the request", header("If-None-Match", `W/"a"`), 200, stored, true},
		{"13.1.2: weak comparison, weak in the store", header("If-None-Match", `"a"`), 200, header("ETag", `W/"a"`), true},
		{"13.1.2: the last of a list", header("If-None-Match", `"b", W/"c" ,"a"`), 200, stored, true},
		{"13.1.2: a comma within a tag", header("If-None-Match", `"x,", "a"`), 200, stored, true},
		{"13.1.2: lists on two lines", header("If-None-Match", `"b"`, "If-None-Match", `"a"`), 200, stored, true},
		{"13.1.2: *", header("If-None-Match", "*"), 200, stored, true},
		{"13.1.2: another", header("If-None-Match", `"b"`), 200, stored, false},
		{"8.8.3: a tag needs quotes", header("If-None-Match", "a"), 200, stored, false},
		{"8.8.3: an unclosed quote", header("If-None-Match", `"a`), 200, stored, false},
		{"4.3.2: no stored tag", header("If-None-Match", `"a"`), 200, header(), false},
		{"13.2.2: the tag overrides the date", header("If-None-Match", `"b"`, "If-Modified-Since", at(0)), 200, stored, false},
		{"4.3.2: not changed since", header("If-Modified-Since", at(-100)), 200, stored, true},
		{"4.3.2: changed since", header("If-Modified-Since", at(-101)), 200, stored, false},
		{"13.1.3: no date", header("If-Modified-Since", "yesterday"), 200, stored, false},
		{"4.3.2: without Last-Modified, an earlier Date", header("If-Modified-Since", at(-100)), 200, header("Date", at(-100)), true},
		{"4.3.2: without Last-Modified, a later Date", header("If-Modified-Since", at(-101)), 200, header("Date", at(-100)), false},
		{"4.3.2: an invalid Last-Modified", header("If-Modified-Since", at(0)), 200, header("Date", at(-100), "Last-Modified", "0"), false},
		{"13.2.1: only for a success", header("If-None-Match", `"a"`), 404, stored, false},
	} {
		if got := NotModified(tt.request, tt.status, tt.stored, received); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.says, got, tt.want)
		}
	}
}

// FuzzNotModified checks that a tag is found in any list that contains it.
func FuzzNotModified(f *testing.F) {
	f.Add(`"b", `, "a")
	f.Add(`W/`, "")
	f.Fuzz(func(t *testing.T, before, tag string) {
		for _, c := range []byte(tag) {
			if c == '"' || c < 0x21 || c == 0x7f {
				return
			}
		}
		quoted := `"` + tag + `"`
		if !anyMatches(quoted+","+before, quoted) || !anyMatches("x, W/"+quoted, quoted) {
			t.Errorf("%q is not found before %q", quoted, before)
		}
		anyMatches(before, quoted) // must terminate
	})
}

func TestValidation(t *testing.T) {
	request := header("If-Match", "x", "If-None-Match", "x", "If-Modified-Since", "x", "If-Unmodified-Since", "x", "If-Range", "x", "A", "1")
	AddConditions(request, header("ETag", `"a"`, "Last-Modified", at(0)))
	if len(request) != 4 || request.Get("If-None-Match") != `"a"` || request.Get("If-Modified-Since") != at(0) || request.Get("If-Range") != "x" {
		t.Errorf("4.3.1: conditions %v", request)
	}
	if HasValidator(header("Date", at(0))) || !HasValidator(header("ETag", "x")) || !HasValidator(header("Last-Modified", "x")) {
		t.Error("4.3.1: HasValidator is wrong")
	}
	for _, tt := range []struct {
		says   string
		update http.Header
		want   bool
	}{
		{"without a validator", header(), true},
		{"with the same strong tag", header("ETag", `"a"`), true},
		{"with another strong tag", header("ETag", `"b"`), false},
		{"with the same weak tag", header("ETag", `W/"a"`), true},
		{"with another weak tag", header("ETag", `W/"b"`), false},
	} {
		if got := Confirms(header("ETag", `"a"`), tt.update); got != tt.want {
			t.Errorf("4.3.4: a 304 %s confirms: %v", tt.says, got)
		}
	}
}

func TestFreshen(t *testing.T) {
	stored := header("A", "1", "B", "1", "B", "2", "Content-Length", "5", "Content-Type", "a/b", "Content-Encoding", "gzip")
	update := header("B", "3", "C", "4", "Content-Length", "0", "Content-Type", "x/y", "Content-Encoding", "br", "Content-Range", "x")
	got := Freshen(stored, update)
	if got.Get("A") != "1" || !slices.Equal(got["B"], []string{"3"}) || got.Get("C") != "4" {
		t.Errorf("3.2: %v", got)
	}
	if got.Get("Content-Type") != "x/y" {
		t.Errorf("3.2: an ordinary field was not updated: %v", got)
	}
	if got.Get("Content-Length") != "5" || got.Get("Content-Encoding") != "gzip" || got.Get("Content-Range") != "" {
		t.Errorf("3.2: fields of the content were updated: %v", got)
	}
	if len(stored["B"]) != 2 {
		t.Error("the stored header was changed")
	}
}

func TestInvalidates(t *testing.T) {
	for _, tt := range []struct {
		method string
		status int
		want   bool
	}{
		{"POST", 200, true},
		{"PUT", 204, true},
		{"DELETE", 303, true},
		{"PATCH", 201, true},
		{"M-SEARCH", 200, true},
		{"get", 200, true}, // methods are case-sensitive: this one is unknown
		{"GET", 200, false},
		{"HEAD", 200, false},
		{"OPTIONS", 200, false},
		{"TRACE", 200, false},
		{"QUERY", 200, false},
		{"POST", 400, false},
		{"POST", 500, false},
		{"POST", 101, false},
	} {
		if got := Invalidates(tt.method, tt.status); got != tt.want {
			t.Errorf("4.4: %s answered %d invalidates: %v", tt.method, tt.status, got)
		}
	}
}

func TestInvalidatedToo(t *testing.T) {
	target := &url.URL{Scheme: "https", Host: "api.test", Path: "/a/b"}
	for _, tt := range []struct {
		header http.Header
		want   []string
	}{
		{header(), nil},
		{header("Location", "c"), []string{"https://api.test/a/c"}},
		{header("Location", "/c?x=1", "Content-Location", "HTTPS://API.test:443/d"), []string{"https://api.test/c?x=1", "https://API.test:443/d"}},
		{header("Location", "https://api.test:8443/c", "Content-Location", "http://api.test/c"), nil},
		{header("Location", "https://other.test/c", "Content-Location", "//other.test/c"), nil},
		{header("Location", "http://[broken"), nil},
	} {
		var got []string
		for _, u := range InvalidatedToo(target, tt.header) {
			got = append(got, u.String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("4.4: %v invalidates %q, want %q", tt.header, got, tt.want)
		}
	}
}

func TestOmitFrom304(t *testing.T) {
	for name, want := range map[string]bool{"Content-Type": true, "Content-Length": true, "Content-Location": false, "Etag": false, "Vary": false} {
		if OmitFrom304(name) != want {
			t.Errorf("RFC 9110, 15.4.5: %s is left out: %v", name, !want)
		}
	}
}

// BenchmarkDecision measures the decisions for a hit: the request's directives, whether the entry
// may be used, whether the client has it already.
func BenchmarkDecision(b *testing.B) {
	request := header("Cache-Control", "max-age=600, no-transform", "If-None-Match", `"x", W/"abcdef"`)
	stored := header("Etag", `"abcdef"`, "Last-Modified", at(-100))
	state := Stored{Age: minute, Remaining: minute}
	b.ReportAllocs()
	for b.Loop() {
		cc := ParseCacheControl(request["Cache-Control"])
		if Reuse(&cc, state) != Serve || !NotModified(request, 200, stored, received) {
			b.Fatal("no hit")
		}
	}
}

func TestStorablePost(t *testing.T) {
	target := &url.URL{Scheme: "https", Host: "api.test", Path: "/a", RawQuery: "b=1"}
	for _, tt := range []struct {
		says     string
		status   int
		location string
		source   Source
		want     bool
	}{
		{"its own representation", 200, "https://api.test/a?b=1", Explicit, true},
		{"by a relative reference", 200, "a?b=1", Explicit, true},
		{"without Content-Location", 200, "", Explicit, false},
		{"another path", 200, "/c?b=1", Explicit, false},
		{"another query", 200, "/a", Explicit, false},
		{"another host", 200, "https://other.test/a?b=1", Explicit, false},
		{"no reference", 200, "http://[broken", Explicit, false},
		{"no explicit freshness", 200, "/a?b=1", Heuristic, false},
		{"another status", 201, "/a?b=1", Explicit, false},
	} {
		if got := StorablePost(target, tt.status, header("Content-Location", tt.location), tt.source); got != tt.want {
			t.Errorf("RFC 9110, 9.3.3: %s: %v", tt.says, got)
		}
	}
}

// time.Duration is limited to 292 years; a Date that was never set is older.
func TestLifetimeAndAgeStayFarFromOverflow(t *testing.T) {
	received := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	never := header("Date", time.Time{}.Format(http.TimeFormat))
	if got := InitialAge(never, received, received); got != maxDelta {
		t.Errorf("RFC 9111, 1.2.2: a Date of the year 1 gives the age %v", got)
	}
	for _, date := range []string{never.Get("Date"), received.Format(http.TimeFormat)} {
		h := header("Date", date, "Expires", "Fri, 31 Dec 9999 23:59:59 GMT")
		if got, _ := Lifetime(200, h, &CacheControl{}, received, true); got != maxDelta {
			t.Errorf("RFC 9111, 1.2.2: the year 9999 after Date %q is a lifetime of %v", date, got)
		}
	}
}

func TestOrigin(t *testing.T) {
	for uri, want := range map[string]string{
		"HTTP://Example.ORG:80/a": "http://example.org",
		"https://example.org:443": "https://example.org",
		"http://example.org:443":  "http://example.org:443",
		"http://example.org:/":    "http://example.org",
		"http://[::1]:80/":        "http://[::1]",
		"http://[::1]:8080":       "http://[::1]:8080",
		"http://[::1:8080]":       "http://[::1:8080]",
		"http://[::80]":           "http://[::80]",
	} {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		if got := Origin(u); got != want {
			t.Errorf("%s: %q, want %q", uri, got, want)
		}
	}
}
