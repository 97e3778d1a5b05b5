package cache_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/jewgo/gateway/internal/store/memory"
)

// listing is content worth encoding.
var listing = strings.Repeat(`{"name": "kosher", "city": "Miami"},`, 200)

// decoded is the identity content of a reply.
func decoded(t *testing.T, r reply) string {
	t.Helper()
	var from io.Reader = strings.NewReader(r.body)
	var err error
	switch coding := r.header.Get("Content-Encoding"); coding {
	case "":
	case "gzip":
		from, err = gzip.NewReader(from)
	case "br":
		from = brotli.NewReader(from)
	case "zstd":
		from, err = zstd.NewReader(from, zstd.WithDecoderConcurrency(1))
	default:
		t.Fatalf("Content-Encoding %q", coding)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(from)
	if err != nil {
		t.Fatalf("decoding %q: %v", r.header.Get("Content-Encoding"), err)
	}
	return string(b)
}

// expectCoding checks everything that a coding changes in a reply.
func (e *edge) expectCoding(says string, r reply, coding, content string) {
	e.Helper()
	h := r.header
	if got := h.Get("Content-Encoding"); got != coding {
		e.Errorf("%s: Content-Encoding %q, want %q; Cache-Status %q", says, got, coding, r.cacheStatus())
		return
	}
	if decoded(e.T, r) != content {
		e.Errorf("%s: %s of something else: %d bytes, want %d", says, coding, len(decoded(e.T, r)), len(content))
	}
	if n := strings.Count(strings.ToLower(strings.Join(h.Values("Vary"), ", ")), "accept-encoding"); n != 1 {
		e.Errorf("%s: Vary %q", says, h.Values("Vary"))
	}
	if strings.HasPrefix(h.Get("Etag"), "W/") != (coding != "") && h.Get("Etag") != "" {
		e.Errorf("%s: the ETag of %q is %s", says, coding, h.Get("Etag"))
	}
	if coding == "" {
		return
	}
	for _, name := range []string{"Content-Digest", "Repr-Digest", "Digest", "Content-Md5", "Accept-Ranges"} {
		if h.Get(name) != "" {
			e.Errorf("%s: %s is of identity", says, name)
		}
	}
}

// memoryBytes is the size of the store in memory.
func (e *edge) memoryBytes() int64 { return e.tiers.Local.(*memory.Cache).Bytes() }

func TestHitsAreEncodedAsTheClientAccepts(t *testing.T) {
	e := newEdge(t, options{})
	var asked []string
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, strings.Join(r.Header.Values("Accept-Encoding"), ","))
		says(listing, "Content-Type", "application/json", "Etag", `"v1"`, "Vary", "accept-encoding", "Content-Digest", "sha-256=:AAAA:",
			"Repr-Digest", "sha-256=:AAAA:", "Digest", "x", "Content-MD5", "x", "Accept-Ranges", "bytes")(w, r)
	})
	e.get("/list", "Accept-Encoding", "br")
	for accept, coding := range map[string]string{
		"gzip, deflate, br, zstd": "zstd", "gzip, deflate, br": "br", "gzip": "gzip", "x-gzip": "gzip", "gzip;q=1, br;q=0.9": "gzip",
		"*;q=0.1": "zstd", "": "", "identity": "", "deflate": "", "zstd;q=0": "", "br;q=0.5, identity": "",
	} {
		for _, again := range []string{"first", "kept"} {
			got := e.get("/list", "Accept-Encoding", accept)
			e.expect(accept, reply{got.status, got.header, "", nil}, "", "edge; hit")
			e.expectCoding(accept+", "+again, got, coding, listing)
			if got.header.Get("Content-Length") != itoa(len(got.body)) {
				t.Errorf("%s: Content-Length %q of %d bytes", accept, got.header.Get("Content-Length"), len(got.body))
			}
			head := e.do("HEAD", "/list", "", "Accept-Encoding", accept)
			for _, name := range []string{"Content-Encoding", "Content-Length", "Etag", "Vary", "Content-Type", "Accept-Ranges", "Repr-Digest"} {
				if head.header.Get(name) != got.header.Get(name) || head.body != "" {
					t.Errorf("RFC 9110, 9.3.2: %s: HEAD has %s %q, GET %q", accept, name, head.header.Get(name), got.header.Get(name))
				}
			}
		}
	}
	if len(asked) != 1 || asked[0] != "identity" {
		t.Errorf("the upstream was asked for %q, want identity once", asked)
	}
}

func TestAHeadMakesTheFormThatItTellsOf(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says(listing, "Content-Type", "text/html"))
	e.get("/list")
	head := e.do("HEAD", "/list", "", "Accept-Encoding", "br")
	got := e.get("/list", "Accept-Encoding", "br")
	if head.header.Get("Content-Encoding") != "br" || head.header.Get("Content-Length") != itoa(len(got.body)) {
		t.Errorf("HEAD: %v; the GET has %d bytes", head.header, len(got.body))
	}
}

func TestWhatIsNotEncoded(t *testing.T) {
	json := []string{"Content-Type", "application/json"}
	for _, tt := range []struct {
		says   string
		status int
		body   string
		header []string
		vary   bool
	}{
		{"RFC 9111, 5.2.2.6: no-transform", 200, listing, append([]string{"Cache-Control", "max-age=60, no-transform"}, json...), false},
		{"encoded content", 200, listing, append([]string{"Content-Encoding", "gzip"}, json...), false},
		{"short content", 200, listing[:1000], json, true},
		{"images", 200, listing, []string{"Content-Type", "image/jpeg"}, false},
		{"streams of events", 200, listing, []string{"Content-Type", "text/event-stream"}, false},
		{"content without a type", 200, listing, []string{"Content-Type", ""}, false},
		{"no content", 204, "", json, false},
		{"parts", 206, listing[:2000], append([]string{"Content-Range", "bytes 0-1999/7200", "Etag", `"a"`}, json...), false},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
				for i := 0; i < len(tt.header); i += 2 {
					w.Header().Set(tt.header[i], tt.header[i+1])
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			for _, path := range []string{"/list", "/list", "/item/1?past"} {
				header := []string{"Accept-Encoding", "gzip, br"}
				if path != "/list" {
					header = append(header, "Authorization", "x") // past the cache
				}
				got := e.get(path, header...)
				upstreams := ""
				if tt.header[0] == "Content-Encoding" {
					upstreams = "gzip"
				}
				if got.body != tt.body || got.header.Get("Content-Encoding") != upstreams {
					t.Errorf("%s: %d bytes with Content-Encoding %q, want %d as they came", got.cacheStatus(), len(got.body), got.header.Get("Content-Encoding"), len(tt.body))
				}
				if (got.header.Get("Vary") == "Accept-Encoding") != tt.vary {
					t.Errorf("%s: Vary %q", got.cacheStatus(), got.header.Values("Vary"))
				}
			}
		})
	}
}

func TestARequestMayForbidToTransform(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says(listing, "Content-Type", "application/json"))
	e.get("/list")
	e.expectCoding("RFC 9111, 5.2.1.6", e.get("/list", "Accept-Encoding", "br", "Cache-Control", "no-transform"), "", listing)
}

func TestStrictRoutesAndThoseThatSayNoPassCodingsThrough(t *testing.T) {
	e := newEdge(t, options{policy: strings.Replace(testPolicy, "cache: {ttl: 60s,", "cache: {ttl: 60s, encode: false,", 1)})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Asked", r.Header.Get("Accept-Encoding"))
		says(listing, "Content-Type", "application/json", "Cache-Control", "max-age=60", "Vary", "Accept-Encoding", "Etag", `"a"`)(w, r)
	})
	for path, asked := range map[string]string{"/strict/a": "br, gzip", "/item/1": "identity"} {
		for range 2 {
			got := e.get(path, "Accept-Encoding", "br, gzip")
			e.expectCoding(path, got, "", listing)
			if got.header.Get("X-Asked") != asked {
				t.Errorf("%s: the upstream was asked for %q", path, got.header.Get("X-Asked"))
			}
		}
		if got := e.get(path, "Accept-Encoding", "br, gzip"); !strings.HasPrefix(got.cacheStatus(), "edge; hit") {
			t.Errorf("%s: %s", path, got.cacheStatus())
		}
	}
}

func TestValidatorsOfEncodedContent(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says(listing, "Content-Type", "application/json", "Etag", `"v1"`, "Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT", "Repr-Digest", "x"))
	e.get("/list")
	for _, tt := range []struct {
		says   string
		header []string
		status int
		tag    string
		coding string
	}{
		{"the weak tag", []string{"Accept-Encoding", "br", "If-None-Match", `W/"v1"`}, 304, `W/"v1"`, ""},
		{"the strong tag, of identity", []string{"Accept-Encoding", "br", "If-None-Match", `"v1"`}, 304, `W/"v1"`, ""},
		{"the weak tag, for identity", []string{"If-None-Match", `W/"v1"`}, 304, `"v1"`, ""},
		{"another tag", []string{"Accept-Encoding", "br", "If-None-Match", `W/"v2"`}, 200, `W/"v1"`, "br"},
		{"a range is of identity", []string{"Accept-Encoding", "br", "Range", "bytes=0-9"}, 206, `"v1"`, ""},
		{"a range, if the client has the strong tag", []string{"Accept-Encoding", "br", "Range", "bytes=0-9", "If-Range", `"v1"`}, 206, `"v1"`, ""},
		{"no range, if the client has the weak tag", []string{"Accept-Encoding", "br", "Range", "bytes=0-9", "If-Range", `W/"v1"`}, 200, `W/"v1"`, "br"},
		{"no range, if the client has only the date, which all codings share", []string{"Accept-Encoding", "br", "Range", "bytes=0-9", "If-Range", "Sun, 06 Nov 1994 08:49:37 GMT"}, 200, `W/"v1"`, "br"},
		{"a range by date, if the client accepts no codings", []string{"Range", "bytes=0-9", "If-Range", "Sun, 06 Nov 1994 08:49:37 GMT"}, 206, `"v1"`, ""},
	} {
		got := e.get("/list", tt.header...)
		if got.status != tt.status || got.header.Get("Etag") != tt.tag || got.header.Get("Content-Encoding") != tt.coding {
			t.Errorf("%s: %d, ETag %s, Content-Encoding %q; want %d, %s, %q", tt.says, got.status, got.header.Get("Etag"), got.header.Get("Content-Encoding"), tt.status, tt.tag, tt.coding)
		}
		if tt.status == 206 && got.body != listing[:10] || tt.status == 304 && (got.body != "" || got.header.Get("Vary") == "") {
			t.Errorf("%s: %q, Vary %q", tt.says, clip(got.body), got.header.Get("Vary"))
		}
	}
	if n := e.asked.Load(); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// The upstream may have a part of what a client has in another coding.
func TestNoRangeOfAnotherRepresentationComesFromUpstream(t *testing.T) {
	e := newEdge(t, options{})
	modified := e.clock.Now().Add(-time.Hour)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		http.ServeContent(w, r, "", modified, strings.NewReader(listing))
	})
	for _, path := range []string{"/list", "/item/1"} {
		header := []string{"Accept-Encoding", "br", "Range", "bytes=100-199", "If-Range", modified.UTC().Format(http.TimeFormat)}
		if path == "/item/1" {
			header = append(header, "Authorization", "x")
		}
		if got := e.get(path, header...); got.status != 200 {
			t.Errorf("%s: %d: a range of identity", got.cacheStatus(), got.status)
		}
	}
}

func TestFormsGoWithTheirEntry(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says(listing, "Content-Type", "application/json"))
	e.get("/list")
	e.get("/list", "Accept-Encoding", "gzip")
	if err := e.tags.Purge(t.Context(), "restaurants"); err != nil {
		t.Fatal(err)
	}
	other := strings.ToUpper(listing)
	e.upstreamSays(says(other, "Content-Type", "application/json"))
	e.expectCoding("after a purge", e.get("/list", "Accept-Encoding", "gzip"), "gzip", other)
	hit := e.get("/list", "Accept-Encoding", "gzip")
	e.expect("the refill", reply{200, hit.header, "", nil}, "", "edge; hit")
	e.expectCoding("the refill", hit, "gzip", other)
}

func TestFormsCountAndOutliveARevalidation(t *testing.T) {
	e := newEdge(t, options{policy: strings.Replace(testPolicy, "stale_while_revalidate: 60s", "stale_while_revalidate: 0s", 1)})
	body := []byte(listing)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"a"`)
		w.Header().Set("Content-Type", "application/json")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	})
	e.get("/list")
	e.exchange()
	held := []int64{e.memoryBytes()}
	for _, coding := range []string{"zstd", "br", "gzip"} {
		first := e.get("/list", "Accept-Encoding", coding)
		e.exchange()
		now := e.memoryBytes()
		if grown := now - held[len(held)-1]; grown < int64(len(first.body)) || grown > int64(len(first.body))+1000 {
			t.Errorf("%s: %d bytes more are counted for %d", coding, grown, len(first.body))
		}
		held = append(held, now)
		e.get("/list", "Accept-Encoding", coding)
		if e.exchange(); e.memoryBytes() != now {
			t.Errorf("%s: made again", coding)
		}
	}
	e.clock.Advance(301 * time.Second)
	got := e.get("/list", "Accept-Encoding", "br")
	e.expect("stale", reply{200, got.header, "", nil}, "", "edge; fwd=stale; fwd-status=304; stored")
	e.expectCoding("a revalidation", got, "br", listing)
	if e.exchange(); e.memoryBytes() < held[3] {
		t.Errorf("%d bytes after a revalidation, %d before: forms were dropped", e.memoryBytes(), held[3])
	}
}

func TestMemoryIsBoundedWithForms(t *testing.T) {
	const bound = 256 << 10
	e := newEdge(t, options{})
	e.tiers.Local = memory.NewCache(bound, e.clock.Now)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		says(strings.Repeat(random(r.URL.Path), 20), "Content-Type", "application/json")(w, r)
	})
	for i := range 60 {
		path := "/item/" + itoa(i)
		e.get(path)
		for _, coding := range []string{"zstd", "br", "gzip"} {
			e.get(path, "Accept-Encoding", coding)
			if n := e.memoryBytes(); n > bound {
				t.Fatalf("%d bytes after %s in %s, more than %d", n, path, coding, bound)
			}
		}
	}
}
