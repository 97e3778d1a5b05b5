package cache_test

import (
	"io"
	"net/http"
	"testing"
	"time"
)

func TestRFC9111_4_3_5_HeadUpdatesWhatIsStored(t *testing.T) {
	for _, tt := range []struct {
		says   string
		head   []string
		status int
		after  time.Duration // until the GET
		then   string        // Cache-Status of a GET afterwards
	}{
		{"the same tag", []string{"Etag", `"a"`, "Cache-Control", "max-age=500"}, 200, 0, "edge; hit; ttl=500"},
		{"no validator makes it stale", []string{"Content-Length", "3", "Cache-Control", "max-age=500"}, 200, 0, "edge; fwd=stale"},
		{"another tag makes it stale", []string{"Etag", `"b"`, "Cache-Control", "max-age=500"}, 200, 0, "edge; fwd=stale"},
		{"another date makes it stale", []string{"Last-Modified", "Sun, 06 Nov 1994 08:49:38 GMT"}, 200, 0, "edge; fwd=stale"},
		{"another length makes it stale", []string{"Content-Length", "4"}, 200, 0, "edge; fwd=stale"},
		{"an error says nothing of it", []string{"Etag", `"b"`}, 500, 0, "edge; hit; ttl=60"},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(says("old", "Cache-Control", "max-age=60", "Etag", `"a"`, "X-A", "1"))
			e.get("/strict/a")
			e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					_, _ = io.WriteString(w, "new")
					return
				}
				for i := 0; i < len(tt.head); i += 2 {
					w.Header().Set(tt.head[i], tt.head[i+1])
				}
				w.WriteHeader(tt.status)
			})
			got := e.do("HEAD", "/strict/a", "", "Cache-Control", "no-cache")
			if got.status != tt.status || got.body != "" {
				t.Errorf("the HEAD: %d %q", got.status, got.body)
			}
			get := e.get("/strict/a")
			want := "old"
			if tt.then == "edge; fwd=stale" {
				want = "new"
			}
			e.expect("a GET", get, want, tt.then)
			if want == "old" && get.header.Get("X-A") != "1" {
				t.Errorf("3.2: a field that HEAD did not have was lost: %v", get.header)
			}
		})
	}
}

func TestRFC9111_4_3_5_WhatAHeadMadeStaleIsNotServedStale(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("old", "Cache-Control", "max-age=60, stale-if-error=600", "Etag", `"a"`))
	e.get("/strict/a")
	e.upstreamSays(says("new", "Etag", `"b"`))
	e.do("HEAD", "/strict/a", "", "Cache-Control", "no-cache")
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	e.expect("a GET that fails", e.get("/strict/a"), "", "edge; fwd=stale; fwd-status=503")
}

func TestRFC9111_4_3_5_A304ToAHeadUpdatesToo(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(validating(`"v1"`, "Cache-Control", "max-age=10"))
	e.get("/strict/a")
	e.clock.Advance(20 * time.Second)
	e.upstreamSays(validating(`"v1"`, "Cache-Control", "max-age=100"))
	if got := e.do("HEAD", "/strict/a", ""); got.status != 200 || got.body != "" || got.header.Get("Content-Length") != "12" {
		t.Errorf("the HEAD: %d %q %v", got.status, got.body, got.header)
	}
	e.expect("a GET", e.get("/strict/a"), `body of "v1"`, "edge; hit; ttl=100")
}

func TestAMissedHeadFillsNothing(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("body", "Cache-Control", "max-age=60"))
	e.expect("a HEAD", e.do("HEAD", "/strict/a", ""), "", "edge; fwd=uri-miss; fwd-status=200")
	e.expect("a GET", e.get("/strict/a"), "body", "edge; fwd=uri-miss; fwd-status=200; stored")
	hit := e.do("HEAD", "/strict/a", "")
	e.expect("a HEAD again", hit, "", "edge; hit")
	if hit.header.Get("Content-Length") != "4" {
		t.Errorf("header %v", hit.header)
	}
}
