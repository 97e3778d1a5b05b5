package cache_test

import (
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/test/env"
)

const digits = "0123456789"

// ranged answers requests for ranges of digits as an origin does.
func ranged(header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stored := http.Header{}
		for i := 0; i < len(header); i += 2 {
			stored.Add(header[i], header[i+1])
			w.Header().Add(header[i], header[i+1])
		}
		stored["Date"] = w.Header()["Date"]
		if tag := stored.Get("Etag"); tag != "" && r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		ranges := rfc9111.SelectRanges(r.Header, stored, int64(len(digits)), time.Now())
		spans := ranges.Spans()
		if ranges.Unsatisfiable {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		if len(spans) != 1 {
			_, _ = io.WriteString(w, digits)
			return
		}
		w.Header().Set("Content-Range", string(rfc9111.AppendContentRange(nil, spans[0], int64(len(digits)))))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(w, digits[spans[0].First:spans[0].Last+1])
	}
}

// expectPart compares a 206.
func (e *edge) expectPart(says string, r reply, body, contentRange, status string) {
	e.Helper()
	e.expect(says, r, body, status)
	if r.status != 206 || r.header.Get("Content-Range") != contentRange || r.header.Get("Content-Length") != fmt.Sprint(len(body)) {
		e.Errorf("%s: %d, Content-Range %q, Content-Length %q; want 206 with %q", says, r.status, r.header.Get("Content-Range"), r.header.Get("Content-Length"), contentRange)
	}
}

func TestRFC9110_14_2_RangesOfAFullResponse(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says(digits, "Cache-Control", "max-age=60", "Etag", `"a"`, "X-A", "1", "Content-Type", "text/plain"))
	e.get("/strict/a")
	part := e.get("/strict/a", "Range", "bytes=2-4")
	e.expectPart("a range", part, "234", "bytes 2-4/10", "edge; hit")
	if part.header.Get("X-A") != "1" || part.header.Get("Etag") != `"a"` {
		t.Errorf("15.3.7: header %v", part.header)
	}
	e.expectPart("a suffix", e.get("/strict/a", "Range", "bytes=-1"), "9", "bytes 9-9/10", "edge; hit")
	e.expectPart("13.1.5: If-Range holds", e.get("/strict/a", "Range", "bytes=0-1", "If-Range", `"a"`), "01", "bytes 0-1/10", "edge; hit")
	e.expect("13.1.5: If-Range does not", e.get("/strict/a", "Range", "bytes=0-1", "If-Range", `"b"`), digits, "edge; hit")
	if got := e.get("/strict/a", "Range", "bytes=0-1", "If-None-Match", `"a"`); got.status != 304 {
		t.Errorf("13.2.2: If-None-Match comes before Range: %d", got.status)
	}
	if got := e.do("HEAD", "/strict/a", "", "Range", "bytes=0-1"); got.status != 200 || got.header.Get("Content-Range") != "" {
		t.Errorf("14.2: Range of a HEAD is ignored: %d", got.status)
	}
	got := e.get("/strict/a", "Range", "bytes=10-")
	if got.status != 416 || got.header.Get("Content-Range") != "bytes */10" || got.body != "" || got.header.Get("Etag") != "" {
		t.Errorf("15.5.17: %d %q %v", got.status, got.body, got.header)
	}
	if n := e.asked.Load(); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
	e.expect("the whole is still there", e.get("/strict/a"), digits, "edge; hit")
}

func TestRFC9110_14_6_SeveralRangesOfAFullResponse(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says(digits, "Cache-Control", "max-age=60", "Content-Type", "text/plain"))
	e.get("/strict/a")
	got := e.get("/strict/a", "Range", "bytes=7-8,0-1")
	kind, params, err := mime.ParseMediaType(got.header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" || got.status != 206 || got.header.Get("Content-Range") != "" {
		t.Fatalf("%d %v", got.status, got.header)
	}
	var parts []string
	for r := multipart.NewReader(strings.NewReader(got.body), params["boundary"]); ; {
		p, err := r.NextPart()
		if err != nil {
			break
		}
		b, _ := io.ReadAll(p)
		parts = append(parts, p.Header.Get("Content-Range")+" "+p.Header.Get("Content-Type")+" "+string(b))
	}
	if want := "[bytes 7-8/10 text/plain 78 bytes 0-1/10 text/plain 01]"; fmt.Sprint(parts) != want {
		t.Errorf("parts %v, want %s", parts, want)
	}
}

func TestRFC9111_3_3_RangesOfAStoredPart(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", `"a"`))
	e.expectPart("a miss", e.get("/strict/a", "Range", "bytes=2-6"), "23456", "bytes 2-6/10", "edge; fwd=uri-miss; fwd-status=206; stored")
	e.expectPart("a range in it", e.get("/strict/a", "Range", "bytes=3-4"), "34", "bytes 3-4/10", "edge; hit")
	e.expectPart("one that begins before it", e.get("/strict/a", "Range", "bytes=1-3"), "123", "bytes 1-3/10", "edge; fwd=partial; fwd-status=206; stored")
	e.expectPart("3.4: both are one now", e.get("/strict/a", "Range", "bytes=1-6"), "123456", "bytes 1-6/10", "edge; hit")
	e.expect("the whole is not served from it", e.get("/strict/a"), digits, "edge; fwd=partial; fwd-status=200; stored")
	e.expect("and is there then", e.get("/strict/a"), digits, "edge; hit")
	e.clock.Advance(2 * time.Minute)
	e.expectPart("4.3: a stale entry is validated, then served", e.get("/strict/a", "Range", "bytes=1-6"), "123456", "bytes 1-6/10", "edge; fwd=stale; fwd-status=304; stored")
}

func TestPartsAreNotJoinedBeyondMaxObject(t *testing.T) {
	for size, want := range map[string]int{"10": http.StatusOK, "9": http.StatusGatewayTimeout} {
		e := newEdge(t, options{policy: strings.Replace(testPolicy, "max_object: 100KiB", "max_object: "+size, 1)})
		e.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", `"a"`))
		e.get("/strict/a", "Range", "bytes=0-4")
		e.get("/strict/a", "Range", "bytes=5-9")
		if got := e.get("/strict/a", "Cache-Control", "only-if-cached"); got.status != want {
			t.Errorf("two halves of 10 bytes, max_object %s: %d, want %d", size, got.status, want)
		}
	}
}

func TestRFC9111_3_4_PartsOfTwoRepresentationsAreNotJoined(t *testing.T) {
	for says, tags := range map[string][2]string{
		"another tag": {`"a"`, `"b"`},
		"weak tags":   {`W/"a"`, `W/"a"`},
		"no tags":     {"", ""},
	} {
		t.Run(says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", tags[0]))
			e.get("/strict/a", "Range", "bytes=0-4")
			e.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", tags[1]))
			e.get("/strict/a", "Range", "bytes=5-7")
			e.expect("a range of both", e.get("/strict/a", "Range", "bytes=0-7"), "01234567", "edge; fwd=partial; fwd-status=206")
		})
	}
}

func TestRFC9111_3_4_APartIsCompleted(t *testing.T) {
	for says, first := range map[string]string{"from its end": "bytes=0-3", "from its beginning": "bytes=-4"} {
		t.Run(says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", `"a"`))
			e.get("/strict/a", "Range", first)
			var asked http.Header
			e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
				asked = r.Header
				ranged("Cache-Control", "max-age=600", "Etag", `"a"`)(w, r)
			})
			got := e.get("/strict/a")
			e.expect("the whole", got, digits, "edge; fwd=partial; fwd-status=200; stored")
			if got.status != 200 || got.header.Get("Content-Range") != "" || got.header.Get("Content-Length") != "10" {
				t.Errorf("%d %v", got.status, got.header)
			}
			if asked.Get("If-Range") != `"a"` || asked.Get("Range") == "" {
				t.Errorf("the upstream was asked with %v", asked)
			}
			e.expect("is stored, with the newer header", e.get("/strict/a"), digits, "edge; hit; ttl=600")
		})
	}
}

func TestRFC9111_3_4_WhatChangedMeanwhileIsNotCompleted(t *testing.T) {
	for says, tag := range map[string]string{"the origin knows": `"b"`, "the origin ignores If-Range": `W/"b"`, "no validator": ""} {
		t.Run(says, func(t *testing.T) {
			e := newEdge(t, options{})
			first := `"a"`
			if tag == "" {
				first = ""
			}
			e.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", first))
			e.get("/strict/a", "Range", "bytes=0-3")
			e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
				if tag != `"b"` {
					r.Header.Del("If-Range")
				}
				ranged("Cache-Control", "max-age=60", "Etag", tag)(w, r)
			})
			got := e.get("/strict/a")
			if e.expect("the whole", got, digits, "edge; fwd=partial; fwd-status=200; stored"); got.header.Get("Etag") != tag {
				t.Errorf("the tag of the answer is %q", got.header.Get("Etag"))
			}
		})
	}
}

func TestRFC9111_4_2_APartIsNotServedStale(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", `"a"`))
	e.get("/strict/a", "Range", "bytes=0-3")
	e.clock.Advance(time.Minute)
	e.expectPart("a minute later", e.get("/strict/a", "Range", "bytes=0-3"), "0123", "bytes 0-3/10", "edge; fwd=uri-miss; fwd-status=206; stored")
}

func TestAPartNeverReplacesTheWhole(t *testing.T) {
	e := newEdge(t, options{})
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		gate.wait()
		ranged("Cache-Control", "max-age=60", "Etag", `"a"`)(w, r)
	})
	done := make(chan struct{})
	go func() { defer close(done); e.get("/strict/a", "Range", "bytes=0-3") }()
	<-gate.arrived
	e.upstreamSays(says(digits, "Cache-Control", "max-age=60", "Etag", `"a"`))
	e.get("/strict/a") // filled while the part is on its way
	gate.release()
	<-done
	e.exchange()
	e.expect("afterwards", e.get("/strict/a"), digits, "edge; hit")
}

func TestPartsOfVariantsAreTheirOwn(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", `"a"`, "Vary", "X-A"))
	e.get("/strict/a", "Range", "bytes=0-3", "X-A", "1")
	e.expect("4.1: another variant", e.get("/strict/a", "Range", "bytes=0-3", "X-A", "2"), "0123", "edge; fwd=uri-miss; fwd-status=206")
	e.expect("4.1: the same", e.get("/strict/a", "Range", "bytes=0-1", "X-A", "1"), "01", "edge; hit")
}

func TestPurgesReachParts(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(ranged("Etag", `"a"`))
	e.get("/item/5", "Range", "bytes=0-3")
	e.expect("stored", e.get("/item/5", "Range", "bytes=0-3"), "0123", "edge; hit")
	e.do("PUT", "/item/5", "x")
	e.expect("purged", e.get("/item/5", "Range", "bytes=0-3"), "0123", "edge; fwd=uri-miss")
}

func TestMalformedPartsAreNotStored(t *testing.T) {
	for says, contentRange := range map[string]string{
		"more content than range":  "bytes 0-1/10",
		"RFC 9110, 14.4: no range": "",
		"RFC 9110, 14.4: invalid":  "bytes 0-10/10",
		"unknown length":           "bytes 0-3/*",
	} {
		t.Run(says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				if contentRange != "" {
					w.Header().Set("Content-Range", contentRange)
				}
				w.WriteHeader(http.StatusPartialContent)
				_, _ = io.WriteString(w, "0123")
			})
			e.get("/strict/a", "Range", "bytes=0-3")
			e.expect("again", e.get("/strict/a", "Range", "bytes=0-0"), "0123", "edge; fwd=uri-miss; fwd-status=206")
		})
	}
}

func TestRFC9110_13_2_2_ARangeOfWhatChangedIsARangeOfTheNew(t *testing.T) {
	for _, tt := range []struct {
		says    string
		ifRange []string
		whole   bool
	}{
		{says: "no If-Range"},
		{says: "13.1.5: If-Range has the new tag", ifRange: []string{"If-Range", `"b"`}},
		{says: "13.1.5: If-Range has the stored tag", ifRange: []string{"If-Range", `"a"`}, whole: true},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(says("before", "Cache-Control", "max-age=60", "Etag", `"a"`))
			e.get("/strict/a")
			e.clock.Advance(2 * time.Minute)
			e.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", `"b"`))
			got := e.get("/strict/a", append(tt.ifRange, "Range", "bytes=2-4")...)
			if tt.whole {
				e.expect("the whole", got, digits, "edge; fwd=stale; fwd-status=200; stored")
				e.expect("is stored", e.get("/strict/a"), digits, "edge; hit")
				return
			}
			e.expectPart("the part", got, "234", "bytes 2-4/10", "edge; fwd=stale; fwd-status=206; stored")
			e.expectPart("is newer than the whole", e.get("/strict/a", "Range", "bytes=3-4"), "34", "bytes 3-4/10", "edge; hit")
			e.expect("4.3: the whole is validated", e.get("/strict/a"), digits, "edge; fwd=stale; fwd-status=200; stored")
			e.expectPart("and is newer than the part then", e.get("/strict/a", "Range", "bytes=0-4"), "01234", "bytes 0-4/10", "edge; hit")
		})
	}
}

func TestRFC9111_4_AWholeThatIsNewerThanAPartComesFirst(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(ranged("Cache-Control", "max-age=600", "Etag", `"a"`))
	e.get("/strict/a", "Range", "bytes=0-4")
	e.clock.Advance(time.Minute)
	e.upstreamSays(says("9876543210", "Cache-Control", "max-age=5", "Etag", `"b"`))
	e.get("/strict/a", "Cache-Control", "no-cache")
	e.clock.Advance(time.Minute)
	e.upstreamSays(validating(`"b"`, "Cache-Control", "max-age=5"))
	e.expect("a range", e.get("/strict/a", "Range", "bytes=0-1"), "98", "edge; fwd=stale; fwd-status=304")
}

func TestRFC9875_2_PartsAreOfTheGroupsThatTheirNewestSays(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", `"a"`))
	e.get("/strict/a", "Range", "bytes=0-3")
	e.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", `"a"`, "Cache-Groups", `"menu"`))
	e.expectPart("joined", e.get("/strict/a", "Range", "bytes=0-5"), "012345", "bytes 0-5/10", "edge; fwd=partial")
	e.upstreamSays(says("", "Cache-Group-Invalidation", `"menu"`))
	e.do("POST", "/other", "x")
	e.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", `"b"`))
	e.expectPart("invalidated", e.get("/strict/a", "Range", "bytes=0-5"), "012345", "bytes 0-5/10", "edge; fwd=uri-miss")
}

func TestPartsAndAllElseWithoutMemory(t *testing.T) {
	server := env.Redis(t)
	a, _ := newGateway(t, server.URL)
	b, _ := newGateway(t, server.URL)
	for _, e := range []*edge{a, b} {
		e.tiers.Local = nil
		e.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", `"a"`))
	}
	a.expectPart("a part", a.get("/strict/a", "Range", "bytes=0-3"), "0123", "bytes 0-3/10", "edge; fwd=uri-miss; fwd-status=206; stored")
	a.exchange()
	part := b.get("/strict/a", "Range", "bytes=1-2")
	b.expectPart("that another filled", part, "12", "bytes 1-2/10", "edge; hit")
	if !strings.HasSuffix(part.cacheStatus(), "detail=l2") {
		t.Errorf("Cache-Status %q", part.cacheStatus())
	}
	b.expect("completed", b.get("/strict/a"), digits, "edge; fwd=partial; fwd-status=200; stored")
	b.exchange()
	a.expect("for all", a.get("/strict/a"), digits, "edge; hit")
	a.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.WriteHeader(503)
	})
	a.expect("a failure", a.get("/strict/b"), "", "edge; fwd=uri-miss; fwd-status=503; stored")
	env.Until(a, "a hit", func() bool { return strings.HasPrefix(a.get("/strict/b").cacheStatus(), "edge; hit") })
}

func TestPartsReachTheOtherGateway(t *testing.T) {
	server := env.Redis(t)
	a, _ := newGateway(t, server.URL)
	b, _ := newGateway(t, server.URL)
	a.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", `"a"`))
	b.upstreamSays(ranged("Cache-Control", "max-age=60", "Etag", `"a"`))
	a.get("/strict/a", "Range", "bytes=0-3")
	a.exchange()
	b.expectPart("the first", b.get("/strict/a", "Range", "bytes=1-2"), "12", "bytes 1-2/10", "edge; hit")
	if again := b.get("/strict/a", "Range", "bytes=1-2"); !strings.HasSuffix(again.cacheStatus(), "detail=l1") {
		t.Errorf("then from memory: %q", again.cacheStatus())
	}
}
