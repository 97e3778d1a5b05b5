package starter

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// draft looks at a backend and returns the policy for it.
func draft(t *testing.T, h http.HandlerFunc, pages ...string) string {
	t.Helper()
	backend := httptest.NewServer(h)
	defer backend.Close()
	base, err := url.Parse(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	var urls []*url.URL
	for _, page := range pages {
		u, err := url.Parse(page)
		if err != nil {
			t.Fatal(err)
		}
		urls = append(urls, u)
	}
	client := Client()
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	return string(Look(ctx, client, base, urls).Policy(time.Now()))
}

func TestPages(t *testing.T) {
	const strict = "cache: {mode: strict}         # its own"
	const managed = `# cache: {ttl: 60s, stale_if_error: 1h, query: {allow: ["limit", "page"]}}`
	for _, tc := range []struct {
		sentence string
		answer   func(h http.Header)
		status   int
		want     []string
	}{
		{"headers that give a lifetime decide", func(h http.Header) { h.Set("Cache-Control", "max-age=60") }, 200, []string{strict, "Cache-Control: max-age=60"}},
		{"an Expires in the future is a lifetime", func(h http.Header) { h.Set("Expires", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)) }, 200, []string{strict}},
		{"without a lifetime the policy may give one", func(h http.Header) { h.Set("ETag", `"1"`) }, 200, []string{managed, "an ETag"}},
		{"a lifetime of zero is the backend's wish", func(h http.Header) { h.Set("Cache-Control", "max-age=0") }, 200, []string{"stale at once"}},
		{"a cookie belongs to one client", func(h http.Header) { h.Set("Set-Cookie", "a=b") }, 200, []string{"not cached: it sets a cookie", "the cookie a"}},
		{"private is not for a shared cache", func(h http.Header) { h.Set("Cache-Control", "private, max-age=60") }, 200, []string{"forbid it: private"}},
		{"no-store is not stored", func(h http.Header) { h.Set("Cache-Control", "no-store") }, 200, []string{"forbid it: no-store"}},
		{"no-cache is not used as it is", func(h http.Header) { h.Set("Cache-Control", "no-cache") }, 200, []string{"forbid it: no-cache"}},
		{"Vary: * matches no request", func(h http.Header) { h.Set("Vary", "*") }, 200, []string{"forbid it: vary"}},
		{"Vary: Cookie is told of", func(h http.Header) { h.Set("Vary", "Accept, cookie") }, 200, []string{"copy of its own", managed}},
		{"a redirect is not followed", func(h http.Header) { h.Set("Location", "/healthz") }, 302, []string{"it answered 302"}},
		{"an error is no page", nil, 500, []string{"it answered 500"}},
		{"a stream passes", func(h http.Header) { h.Set("Content-Type", "text/event-stream") }, 200, []string{"it is a stream"}},
		{"a control character ends no comment", func(h http.Header) { h.Set("Vary", "A\tB\u0085listen: x") }, 200, []string{"Vary: A?B?listen: x"}},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			policy := draft(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/page" {
					if tc.answer != nil {
						tc.answer(w.Header())
					}
					w.WriteHeader(tc.status)
				}
			}, "/page?page=1&limit=2")
			for _, want := range tc.want {
				if !strings.Contains(policy, want) {
					t.Errorf("no %q in:\n%s", want, policy)
				}
			}
			if strings.Contains(policy, strict) && strings.Contains(policy, managed) {
				t.Error("a page is cached in two ways")
			}
		})
	}
}

func TestHealth(t *testing.T) {
	has := func(paths ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(fmt.Sprint(paths), r.URL.Path) {
				w.WriteHeader(http.StatusNotFound)
			}
		}
	}
	for _, tc := range []struct {
		sentence string
		backend  http.HandlerFunc
		want     string
	}{
		{"the path that answers", has("/health"), "health: {path: /health} "},
		{"the shallowest of several", has("/readyz", "/healthz"), "health: {path: /healthz} "},
		{"a backend without one", has(), "# health: {path: /}"},
		{"a backend that answers everything has none", func(http.ResponseWriter, *http.Request) {}, "# health: {path: /}"},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			if policy := draft(t, tc.backend); !strings.Contains(policy, "    "+tc.want) {
				t.Errorf("no %q in:\n%s", tc.want, policy)
			}
		})
	}
}

// Names of routes that are words of YAML stay strings.
func TestNamesAreStrings(t *testing.T) {
	policy := draft(t, func(http.ResponseWriter, *http.Request) {}, "/123", "/true", "/2024-01-01")
	for _, want := range []string{`- name: "123"`, `- name: "true"`, `- name: "2024-01-01"`} {
		if !strings.Contains(policy, want) {
			t.Errorf("no %s in:\n%s", want, policy)
		}
	}
}

func TestCookies(t *testing.T) {
	policy := draft(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Header().Add("Set-Cookie", "session=x; HttpOnly")
		case "/login":
			w.Header().Add("Set-Cookie", "remember=x; HttpOnly")
			w.Header().Add("Set-Cookie", "csrf=x")
		}
	}, "/login")
	if want := `# offload: ["remember", "session"]`; !strings.Contains(policy, want) {
		t.Errorf("no %q in:\n%s", want, policy)
	}
}

// A backend that accepts and says nothing, or never ends its body, holds up nobody.
func TestSilence(t *testing.T) {
	for sentence, say := range map[string]bool{"no head": false, "no end": true} {
		t.Run(sentence, func(t *testing.T) {
			began := time.Now()
			policy := draft(t, func(w http.ResponseWriter, r *http.Request) {
				if say {
					w.WriteHeader(http.StatusOK)
					_ = http.NewResponseController(w).Flush()
				}
				<-r.Context().Done()
			}, "/page")
			if took := time.Since(began); took > 5*time.Second || !strings.Contains(policy, `name: "page"`) {
				t.Errorf("after %v:\n%s", took, policy)
			}
			if strings.Contains(policy, "It did not answer") == say {
				t.Errorf("policy:\n%s", policy)
			}
		})
	}
}

func TestNames(t *testing.T) {
	names := map[string]bool{"read": true}
	for _, tc := range []struct{ path, want string }{
		{"/", "root"},
		{"/a/b.json", "a-b-json"},
		{"/a-b/.json", "a-b-json-2"},
		{"/read", "read-2"},
		{"/\u00e9", "root-2"},
		{"/" + strings.Repeat("x", 99), strings.Repeat("x", 48)},
	} {
		if got := free(names, tc.path); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.path, got, tc.want)
		}
	}
}
