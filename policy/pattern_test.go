package policy

import "testing"

// What other routers write is told of with what was meant.
func TestLikelyPattern(t *testing.T) {
	for in, want := range map[string]string{
		"/products/*":    "/products/{rest...}",
		"/y/**":          "/y/{rest...}",
		"/p/:id":         "/p/{id}",
		"/p/:id/reviews": "/p/{id}/reviews",
		"/a/*/b":         "/a/{part}/b",
		"/files/*path":   "/files/{path...}",
		"/u/<id>":        "/u/{id}",
		"/u/<int:id>":    "/u/{id}",
		"/u/<int:id>/x":  "/u/{id}/x",
		"/f/<path:name>": "/f/{name...}",
		"/u/{id:[0-9]+}": "/u/{id}",
		"/u/{*rest}":     "/u/{rest...}",
		"/ok/{id}":       "",
		"/ok":            "",
		"/a/x{id}":       "",
		"/:a/:a":         "", // a name twice is another mistake
		"/a//*":          "",
		"^/api/.*$":      "",
	} {
		if got := likelyPattern(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
		if _, err := parsePattern(in); want != "" && err == nil {
			t.Errorf("%s is taken for a pattern", in)
		}
	}
	if p, err := parsePattern("/v1/%3Abatch/%2A"); err != nil || p.segments[1].text != ":batch" || p.segments[2].text != "*" {
		t.Errorf("the characters themselves: %v, %v", p, err)
	}
}
