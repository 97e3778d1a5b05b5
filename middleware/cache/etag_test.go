package cache_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAnEntityTagIsMadeWhereThereIsNoValidator(t *testing.T) {
	for _, tt := range []struct {
		says, path string
		status     int
		header     []string
		made       bool
	}{
		{"no validator", "/list", 200, nil, true},
		{"an entity tag", "/list", 200, []string{"Etag", `"own"`}, false},
		{"a date", "/list", 200, []string{"Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"}, false},
		{"not found", "/list", 404, nil, false},
		{"strict", "/strict/a", 200, []string{"Cache-Control", "max-age=60"}, false},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
				for i := 0; i < len(tt.header); i += 2 {
					w.Header().Set(tt.header[i], tt.header[i+1])
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, "body")
			})
			e.get(tt.path)
			tag := e.get(tt.path).header.Get("Etag")
			if made := tag != "" && tag != `"own"`; made != tt.made {
				t.Fatalf("ETag %q", tag)
			}
			if !tt.made {
				return
			}
			if !strings.HasPrefix(tag, `"`) || len(tag) < 16 {
				t.Errorf("%s is no strong tag", tag)
			}
			if got := e.get(tt.path, "If-None-Match", tag); got.status != 304 || got.header.Get("Etag") != tag || got.body != "" {
				t.Errorf("revalidated: %d %v", got.status, got.header)
			}
			if got := e.get(tt.path, "Range", "bytes=1-2", "If-Range", tag); got.status != 206 || got.body != "od" {
				t.Errorf("a range: %d %q", got.status, got.body)
			}
		})
	}
}

func TestTheUpstreamIsNotAskedByATagThatItDoesNotKnow(t *testing.T) {
	e := newEdge(t, options{policy: strings.Replace(testPolicy, "stale_while_revalidate: 60s", "stale_while_revalidate: 0s", 1)})
	body := "body"
	var conditions []string
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		conditions = append(conditions, r.Header.Get("If-None-Match"))
		if r.Header.Get("If-None-Match") != "" { // as if it knew
			w.WriteHeader(http.StatusNotModified)
			return
		}
		says(body)(w, r)
	})
	e.get("/list")
	first := e.get("/list").header.Get("Etag")
	e.clock.Advance(301 * time.Second)
	e.expect("stale: filled again", e.get("/list"), "body", "edge; fwd=stale; fwd-status=200; stored")
	if again := e.get("/list").header.Get("Etag"); again != first {
		t.Errorf("the same content has %s and %s", first, again)
	}
	body = "other"
	e.clock.Advance(301 * time.Second)
	e.get("/list")
	if changed := e.get("/list").header.Get("Etag"); changed == first || changed == "" {
		t.Errorf("other content has %s too", changed)
	}
	if strings.Join(conditions, "") != "" || len(conditions) != 3 {
		t.Errorf("the upstream was asked with %q", conditions)
	}
}

// A HEAD's response without a tag does not contradict a tag made here (RFC 9111, 4.3.5).
func TestAHeadIsNotComparedWithATagOfOurs(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("body"))
	e.get("/list")
	e.clock.Advance(10 * time.Second)
	e.do("HEAD", "/list", "", "Cache-Control", "no-cache")
	e.expect("neither outdated nor renewed", e.get("/list"), "body", "edge; hit; ttl=290")
}
