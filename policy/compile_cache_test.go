package policy

import (
	"slices"
	"testing"
)

func TestCodings(t *testing.T) {
	for _, tt := range []struct {
		says, cache string
		encode      bool
		vary        []string
	}{
		{"managed routes encode, and store one response for all codings", "{vary: [accept-encoding, x-lang]}", true, []string{"X-Lang", "Origin"}},
		{"unless they say no", "{encode: false, vary: [Accept-Encoding]}", false, []string{"Origin"}},
		{"strict routes pass codings through", "{mode: strict, vary: [Accept-Encoding]}", false, []string{"Accept-Encoding"}},
		{"and may say so", "{mode: strict, encode: false}", false, nil},
	} {
		s, err := Parse("a.yaml", []byte("version: 1\nupstreams: {app: {targets: [\"http://a\"]}}\nroutes: [{name: a, match: {path: /a}, upstream: app, cache: "+tt.cache+"}]\n"), empty)
		if err != nil {
			t.Fatal(err)
		}
		if rule := s.Routes[0].Cache; rule.Encode != tt.encode || !slices.Equal(rule.Vary, tt.vary) {
			t.Errorf("%s: encode %v, vary %q", tt.says, rule.Encode, rule.Vary)
		}
	}
}
