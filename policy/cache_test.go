package policy

import (
	"net/http"
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
		{"in the order of the request", QueryRule{InOrder: true}, "b=1&a=2&b=%30", "b=1&a=2&b=0"},
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
	c := &CacheRule{
		TTL:      5 * time.Minute,
		Statuses: map[int]time.Duration{200: 4 * time.Minute, 404: 10 * time.Second, 410: 0},
		Query:    QueryRule{TTL: map[string]time.Duration{"open": 30 * time.Second, "a b": time.Second}},
	}
	for _, tt := range []struct {
		says   string
		status int
		query  string
		want   time.Duration
		named  bool
	}{
		{"the rule's", 301, "", 5 * time.Minute, false},
		{"a parameter without one of its own", 301, "page=1", 5 * time.Minute, false},
		{"a value is no name", 301, "page=open", 5 * time.Minute, false},
		{"a parameter's", 301, "open=true&page=1", 30 * time.Second, false},
		{"a bare parameter's", 301, "open", 30 * time.Second, false},
		{"the shortest of two", 301, "a+b=1&open=1", time.Second, false},
		{"a status's", 200, "", 4 * time.Minute, true},
		{"a part is as its whole", 206, "", 4 * time.Minute, true},
		{"a parameter shortens a status's", 200, "open=1", 30 * time.Second, true},
		{"and does not lengthen it", 404, "open=1", 10 * time.Second, true},
		{"a status that is not to be stored", 410, "open=1", 0, true},
	} {
		if got, named := c.Lifetime(tt.status, tt.query); got != tt.want || named != tt.named {
			t.Errorf("%s: Lifetime(%d, %q) = %v, %v; want %v, %v", tt.says, tt.status, tt.query, got, named, tt.want, tt.named)
		}
	}
}

func TestStatusesOfACache(t *testing.T) {
	s, err := Parse("test.yaml", []byte(`
version: 1
upstreams: {app: {targets: ["http://a"]}}
routes: [{name: a, match: {path: /a}, upstream: app, cache: {ttl: 1m, statuses: {4xx: 5s, 404: 10s, "410": 0s, 5xx: 2s, 2xx: 7s, 301: "${NONE:-}"}}}]
`), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	rule := s.Routes[0].Cache
	for status := 100; status < 600; status++ {
		want, named := time.Minute, false
		switch {
		case status == 404:
			want, named = 10*time.Second, true
		case status == 410:
			want, named = 0, true
		case status != http.StatusPartialContent && NeverStored(status): // a class leaves it out
		case status/100 == 4:
			want, named = 5*time.Second, true
		case status/100 == 5:
			want, named = 2*time.Second, true
		case status/100 == 2:
			want, named = 7*time.Second, true
		}
		if got, ok := rule.Lifetime(status, ""); got != want || ok != named {
			t.Errorf("%d: %v, %v; want %v, %v", status, got, ok, want, named)
		}
	}
	for _, status := range []int{304, 400, 412, 413, 414, 416, 428, 429, 431, 511} {
		if !NeverStored(status) {
			t.Errorf("%d may be stored", status)
		}
	}
}
