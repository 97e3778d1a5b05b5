package rfc9111

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestTargetedFields(t *testing.T) {
	list := []string{"Edge-Cache-Control", "Cdn-Cache-Control", "Surrogate-Control"}
	for _, tt := range []struct {
		says     string
		header   []string
		lifetime time.Duration // -1: none
		noStore  bool
	}{
		{"2.2: the targeted field", []string{"Cdn-Cache-Control", "max-age=5", "Cache-Control", "max-age=9"}, 5 * time.Second, false},
		{"2.2: the first on the list", []string{"Edge-Cache-Control", "max-age=3", "Cdn-Cache-Control", "max-age=5"}, 3 * time.Second, false},
		{"2.2: it overrides Cache-Control", []string{"Cdn-Cache-Control", "max-age=5", "Cache-Control", "no-store"}, 5 * time.Second, false},
		{"2.2: it overrides Expires", []string{"Cdn-Cache-Control", "public", "Expires", at(100)}, -1, false},
		{"2.1: an empty field is ignored", []string{"Cdn-Cache-Control", "", "Cache-Control", "max-age=9"}, 9 * time.Second, false},
		{"2.1: a malformed Dictionary is ignored", []string{"Cdn-Cache-Control", "max-age=5, &", "Cache-Control", "max-age=9"}, 9 * time.Second, false},
		{"2.1: a space before = is malformed", []string{"Cdn-Cache-Control", "max-age =5", "Cache-Control", "max-age=9"}, 9 * time.Second, false},
		{"2.1: keys are lower case", []string{"Cdn-Cache-Control", "Max-Age=5", "Cache-Control", "max-age=9"}, 9 * time.Second, false},
		{"2.1: a String instead of a number invalidates the field", []string{"Cdn-Cache-Control", `max-age="5", private`, "Cache-Control", "max-age=9"}, 9 * time.Second, false},
		{"2.1: a list instead of a number invalidates the field", []string{"Cdn-Cache-Control", `max-age=(5)`, "Cache-Control", "max-age=9"}, 9 * time.Second, false},
		{"2.1: a number instead of a flag invalidates the field", []string{"Cdn-Cache-Control", `no-store=5`, "Cache-Control", "max-age=9"}, 9 * time.Second, false},
		{"2.1: a flag that is false is not set", []string{"Cdn-Cache-Control", `no-store=?0, max-age=5`}, 5 * time.Second, false},
		{"2.1: parameters are ignored", []string{"Cdn-Cache-Control", `max-age=5;x=1`}, 5 * time.Second, false},
		{"2.1: unknown members are ignored", []string{"Cdn-Cache-Control", `foo=(1 2), max-age=5`}, 5 * time.Second, false},
		{"RFC 9651, 3.2: of equal members the last counts", []string{"Cdn-Cache-Control", `max-age=5`, "Cdn-Cache-Control", "max-age=7"}, 7 * time.Second, false},
		{"1.2.2: a negative number is zero", []string{"Cdn-Cache-Control", `max-age=-5`}, 0, false},
		{"1.2.2: a large number is capped at 2^31", []string{"Cdn-Cache-Control", `max-age=99999999999`}, maxDelta, false},
		{"no-store", []string{"Cdn-Cache-Control", `no-store`, "Cache-Control", "max-age=9"}, -1, true},
		{"Surrogate-Control", []string{"Surrogate-Control", `max-age=5+60, content="ESI/1.0"`, "Cache-Control", "max-age=9"}, 5 * time.Second, false},
		{"Surrogate-Control without a directive", []string{"Surrogate-Control", `content="ESI/1.0"`, "Cache-Control", "max-age=9"}, 9 * time.Second, false},
	} {
		h := header(tt.header...)
		cc := ResponseControl(h, list)
		got, source := Lifetime(200, h, &cc, received, true)
		if source == Unknown {
			got = -1
		}
		if got != tt.lifetime || cc.NoStore != tt.noStore {
			t.Errorf("RFC 9213, %s: lifetime %v, no-store %v", tt.says, got, cc.NoStore)
		}
	}
	cc := ResponseControl(header("Cdn-Cache-Control", "no-store", "Cache-Control", "max-age=9"), nil)
	if cc.NoStore || cc.MaxAge.Value != 9*time.Second {
		t.Errorf("RFC 9213, 2.2: a cache that is not a CDN's obeys CDN-Cache-Control: %+v", cc)
	}
	if cc := ResponseControl(header("Surrogate-Control", "max-age=5+60"), list); cc.StaleWhileRevalidate.Value != time.Minute {
		t.Errorf("Edge Architecture, 2.3: %+v", cc)
	}
	if cc, ok := ParseTargeted([]string{`private="a, b", no-cache`}); !ok || cc.Private || !cc.NoCache || !slices.Equal(cc.PrivateFields, []string{"A", "B"}) {
		t.Errorf("RFC 9111, 5.2.2.7: %+v, %v", cc, ok)
	}
	if _, ok := ParseTargeted([]string{`no-store="a"`}); ok {
		t.Error("RFC 9213, 2.1: no-store accepts a String")
	}
}

// FuzzParseTargeted checks that parsing terminates, and that no number is negative or above the
// bound.
func FuzzParseTargeted(f *testing.F) {
	f.Add(`max-age=5, private="a", no-store;x=1`)
	f.Add(`max-age=999999999999999`)
	f.Fuzz(func(t *testing.T, line string) {
		cc, ok := ParseTargeted([]string{line})
		for _, d := range []Delta{cc.MaxAge, cc.SMaxAge, cc.StaleIfErr, cc.StaleWhileRevalidate} {
			if d.Value < 0 || d.Value > maxDelta || d.Set && !ok {
				t.Errorf("%q gives %+v", line, cc)
			}
		}
		Groups([]string{line})
		surrogateControl([]string{line})
	})
}

func TestGroups(t *testing.T) {
	many := ""
	for i := range maxGroups + 10 {
		many += fmt.Sprintf(`"%d",`, i)
	}
	for _, tt := range []struct {
		says  string
		lines []string
		want  int
	}{
		{"2: strings", []string{`"a", "b"`, `"c";x=1`}, 3},
		{"2: absent", nil, 0},
		{"2: a token is not a String", []string{`"a", b`}, 0},
		{"2: no List", []string{`"a`}, 0},
		{"2: a list is not a String", []string{`("a")`}, 0},
		{"2: bounded, above 32", []string{many + `"z"`}, maxGroups},
	} {
		if got := Groups(tt.lines); len(got) != tt.want {
			t.Errorf("RFC 9875, %s: %q gives %q", tt.says, tt.lines, got)
		}
	}
}

func TestHeadConfirms(t *testing.T) {
	stored := header("Etag", `"a"`, "Last-Modified", at(-100))
	for _, tt := range []struct {
		says string
		head []string
		want bool
	}{
		{"a validator is missing", []string{"Etag", `"a"`}, false},
		{"the same", []string{"Etag", `"a"`, "Last-Modified", at(-100), "Content-Length", "5"}, true},
		{"another tag", []string{"Etag", `"b"`}, false},
		{"another date", []string{"Last-Modified", at(-99)}, false},
		{"another length", []string{"Content-Length", "6"}, false},
	} {
		if got := HeadConfirms(stored, header(tt.head...), "5"); got != tt.want {
			t.Errorf("RFC 9111, 4.3.5: %s: %v", tt.says, got)
		}
	}
	if !HeadConfirms(header(), header("Content-Length", "5"), "5") {
		t.Error("RFC 9111, 4.3.5: only the length can be compared, and it is equal")
	}
	if HeadConfirms(header(), header("Etag", `"a"`), "5") {
		t.Error("RFC 9111, 4.3.5: the stored response lacks a validator")
	}
}
