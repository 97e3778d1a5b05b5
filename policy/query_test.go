package policy

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQueryRuleApply(t *testing.T) {
	coordinates := QueryRule{Round: map[string]int{"lat": 3, "n": 0}}
	for _, c := range []struct {
		what     string
		rule     QueryRule
		in, want string
	}{
		{"nothing", QueryRule{}, "", ""},
		{"sorted by name", QueryRule{}, "b=1&a=2", "a=2&b=1"},
		{"repetitions keep their order", QueryRule{}, "t=z&a=1&t=b&t=c", "a=1&t=z&t=b&t=c"},
		{"only what is allowed", QueryRule{Allow: map[string]bool{"a": true}}, "utm=1&a=2&A=3", "a=2"},
		{"nothing is allowed", QueryRule{Allow: map[string]bool{}}, "a=1&b", ""},
		{"all but what is denied", QueryRule{Deny: map[string]bool{"utm": true}}, "utm=1&a=2&u%74m=3", "a=2"},
		{"one encoding", QueryRule{}, "q=a%20b+c%2fd%7E%C3%a9&%61=1", "a=1&q=a+b+c%2Fd~%C3%A9"},
		{"an encoded separator stays one", QueryRule{}, "a=1%262%3D3&b=x=y", "a=1%262%3D3&b=x%3Dy"},
		{"with and without =", QueryRule{}, "b&a=&=c&&", "=c&a=&b"},
		{"a stray percent sign", QueryRule{}, "a=100%&b=%zz&c=%4", "a=100%25&b=%25zz&c=%254"},
		{"rounded", coordinates, "lat=25.761681&n=2.5", "lat=25.762&n=2"},
		{"rounded to the shortest", coordinates, "lat=25.70000001&n=7.0", "lat=25.7&n=7"},
		{"no negative zero", coordinates, "lat=-0.0001&n=-0.4", "lat=0&n=0"},
		{"an exponent is a number", coordinates, "lat=2.5761681e1", "lat=25.762"},
		{"each repetition is rounded", coordinates, "lat=1.00049&lat=1.0005001", "lat=1&lat=1.001"},
		{"what is no number stays", coordinates, "lat=NaN&lat=Inf&lat=0x1p4&lat=1_0&lat=&lat=north&lat=e", "lat=NaN&lat=Inf&lat=0x1p4&lat=1_0&lat=&lat=north&lat=e"},
		{"a huge number stays", coordinates, "lat=1e300", "lat=1e300"},
	} {
		if got := c.rule.Apply(c.in); got != c.want {
			t.Errorf("%s: Apply(%q) = %q, want %q", c.what, c.in, got, c.want)
		}
	}
}

// TestApplyChangesNoMeaning holds Apply against net/url: the same parameters
// with the same values in the same order.
func TestApplyChangesNoMeaning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := url.Values(rapid.MapOf(rapid.String(), rapid.SliceOfN(rapid.String(), 1, 3)).Draw(t, "values"))
		var pieces []string
		for _, name := range rapid.Permutation(keys(values)).Draw(t, "order") {
			for _, v := range values[name] {
				pieces = append(pieces, url.QueryEscape(name)+"="+url.QueryEscape(v))
			}
		}
		if got, want := (QueryRule{}).Apply(strings.Join(pieces, "&")), values.Encode(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func FuzzApply(f *testing.F) {
	for _, s := range []string{"a=1&b=2", "lat=25.76171&lat=-0.0004", "a=%zz&%&+=+", "lat=1e15&lat=999999999999999.9", "lat=.5&lat=5.&lat=-.0e9", ";=%3b&a"} {
		f.Add(s)
	}
	rule := QueryRule{Deny: map[string]bool{"x": true}, Round: map[string]int{"lat": 3, "a": 0, "b": maxDecimals}}
	f.Fuzz(func(t *testing.T, raw string) {
		once := rule.Apply(raw)
		if twice := rule.Apply(once); twice != once {
			t.Errorf("not idempotent: %q, %q, %q", raw, once, twice)
		}
		values, err := url.ParseQuery(once)
		if err != nil {
			t.Errorf("Apply(%q) = %q: %v", raw, once, err)
		}
		if values.Has("x") {
			t.Errorf("Apply(%q) = %q holds a denied parameter", raw, once)
		}
	})
}

func TestLifetime(t *testing.T) {
	c := &CacheRule{TTL: 5 * time.Minute, Query: QueryRule{TTL: map[string]time.Duration{"open": 30 * time.Second, "a b": time.Second}}}
	for query, want := range map[string]time.Duration{
		"":                 5 * time.Minute,
		"page=1":           5 * time.Minute,
		"page=open":        5 * time.Minute,
		"open=true&page=1": 30 * time.Second,
		"open":             30 * time.Second,
		"a+b=1&open=1":     time.Second,
	} {
		if got := c.Lifetime(query); got != want {
			t.Errorf("Lifetime(%q) = %v, want %v", query, got, want)
		}
	}
}
