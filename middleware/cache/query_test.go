package cache_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

func TestRFC10008_2_7_QueryIsKeyedByItsContent(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.Header.Get("Content-Type"), b)
	})
	query := func(content, kind string) reply { return e.do("QUERY", "/strict/a", content, "Content-Type", kind) }
	e.expect("a miss", query("a=1", "x/y"), "QUERY x/y a=1", "edge; fwd=uri-miss; fwd-status=200; stored")
	e.expect("the same", query("a=1", "x/y"), "QUERY x/y a=1", "edge; hit")
	e.expect("other content", query("a=2", "x/y"), "QUERY x/y a=2", "edge; fwd=uri-miss")
	e.expect("another type", query("a=1", "x/z"), "QUERY x/z a=1", "edge; fwd=uri-miss")
	for _, field := range []string{"Content-Encoding", "Content-Language"} {
		got := e.do("QUERY", "/strict/a", "a=1", "Content-Type", "x/y", field, "x")
		e.expect("read in another way by its "+field, got, "QUERY x/y a=1", "edge; fwd=uri-miss")
	}
	e.expect("a GET is another thing", e.get("/strict/a"), "GET  ", "edge; fwd=uri-miss")
	e.expect("and a QUERY invalidates nothing", e.get("/strict/a"), "GET  ", "edge; hit")
	long := strings.Repeat("x", 70_000)
	e.expect("too much to be keyed", query(long, "x/y"), "QUERY x/y "+long, "edge; fwd=bypass")
}

func TestRFC10008_QueryIsValidatedWithItsContent(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		tag := fmt.Sprintf(`"%d"`, e.asked.Load()) // never the one that is asked for
		w.Header().Set("ETag", tag)
		w.Header().Set("Cache-Control", "max-age=10")
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, b, tag)
	})
	e.do("QUERY", "/strict/a", "a=1")
	e.clock.Advance(20 * time.Second)
	e.expect("asked again after a 304 of something else", e.do("QUERY", "/strict/a", "a=1"), `QUERY a=1 "3"`, "edge; fwd=stale; fwd-status=200; stored")
}

func TestRFC10008_QueryIsRefreshedInTheBackground(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Cache-Control", "max-age=10, stale-while-revalidate=60")
		_, _ = fmt.Fprintf(w, "%s %s %d", r.Method, b, e.asked.Load())
	})
	e.do("QUERY", "/strict/a", "a=1")
	e.clock.Advance(20 * time.Second)
	e.expect("stale", e.do("QUERY", "/strict/a", "a=1"), "QUERY a=1 1", "edge; hit; ttl=-10")
	env.Until(e, "the refreshed entry", func() bool { return e.do("QUERY", "/strict/a", "a=1").body == "QUERY a=1 2" })
}

func TestNoVarySearch(t *testing.T) {
	e := newEdge(t, options{})
	answer := func(body, rule string) {
		e.upstreamSays(says(body, "Cache-Control", "max-age=60", "No-Vary-Search", rule))
	}
	answer("a", `key-order, params=("utm")`)
	e.get("/strict/s?q=1&p=2&utm=x")
	answer("b", `key-order, params=("utm")`)
	e.expect("the first teaches the rule", e.get("/strict/s?p=2&q=1&utm=y"), "a", "edge; hit")
	e.expect("other parameters still count", e.get("/strict/s?q=2&utm=x"), "b", "edge; fwd=uri-miss")
	e.expect("another path has no rule", e.get("/strict/t?q=2&utm=x"), "b", "edge; fwd=uri-miss")
	answer("c", "")
	e.expect("a miss that takes the rule back", e.get("/strict/s?q=3&utm=x"), "c", "edge; fwd=uri-miss")
	e.expect("then queries differ again", e.get("/strict/s?q=3&utm=y"), "c", "edge; fwd=uri-miss")
	e.expect("a stored response is found", e.get("/strict/s?q=3&utm=x"), "c", "edge; hit")
}

func TestTheUpstreamGetsTheQueryThatWasAsked(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("No-Vary-Search", "params")
		_, _ = io.WriteString(w, r.URL.RawQuery)
	})
	e.get("/strict/s?b=1&a=2")
	e.expect("No-Vary-Search is the cache's alone", e.get("/strict/s?a=2&b=1"), "a=2&b=1", "edge; fwd=uri-miss")
}
