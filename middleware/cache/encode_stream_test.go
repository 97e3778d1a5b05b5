package cache_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"

	"github.com/jewgo/gateway/test/env"
)

func itoa(n int) string { return strconv.Itoa(n) }

// random is text that no coding shortens much.
func random(seed string) string {
	var b strings.Builder
	for i := range 16 {
		sum := sha256.Sum256([]byte(seed + itoa(i)))
		b.WriteString(hex.EncodeToString(sum[:]))
	}
	return b.String()
}

func TestWhatIsNotStoredIsEncodedTooAndAskedForAsIdentity(t *testing.T) {
	for _, tt := range []struct {
		says   string
		header []string
	}{
		{"a miss", nil},
		{"past the cache", []string{"Cookie", "access_token=x"}},
		{"nothing of it is stored", []string{"Cache-Control", "no-store"}},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newEdge(t, options{})
			e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Asked", r.Header.Get("Accept-Encoding"))
				w.Header().Set("Content-Length", itoa(len(listing)))
				says(listing, "Content-Type", "application/json", "Etag", `"v1"`, "Accept-Ranges", "bytes", "Repr-Digest", "x")(w, r)
			})
			for _, coding := range []string{"zstd", "br", "gzip", ""} {
				path := "/list?page=" + coding
				got := e.get(path, append([]string{"Accept-Encoding", coding}, tt.header...)...)
				e.expectCoding(tt.says, got, coding, listing)
				if got.header.Get("X-Asked") != "identity" || !strings.HasPrefix(got.cacheStatus(), "edge; fwd=") {
					t.Errorf("the upstream was asked for %q; %s", got.header.Get("X-Asked"), got.cacheStatus())
				}
				if coding != "" && got.header.Get("Content-Length") != "" {
					t.Errorf("%s: Content-Length %s", coding, got.header.Get("Content-Length"))
				}
				head := e.do("HEAD", path+"2", "", append([]string{"Accept-Encoding", coding}, tt.header...)...)
				if head.header.Get("Content-Encoding") != coding || head.header.Get("Etag") != got.header.Get("Etag") || head.header.Get("Content-Length") != got.header.Get("Content-Length") {
					t.Errorf("RFC 9110, 9.3.2: HEAD: %v; GET: %v", head.header, got.header)
				}
			}
		})
	}
}

func TestAStreamStaysAStreamWhileItIsEncoded(t *testing.T) {
	e := newEdge(t, options{})
	g := newGate(t)
	first, second := listing[:2000], listing[2000:]
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, first)
		_ = http.NewResponseController(w).Flush()
		g.wait()
		_, _ = io.WriteString(w, second)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.server.URL+"/list", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "br")
	resp, err := e.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	plain := brotli.NewReader(resp.Body)
	got := make([]byte, len(first))
	if _, err := io.ReadFull(plain, got); err != nil || string(got) != first { // while the upstream waits
		t.Fatalf("%q, %v", clip(string(got)), err)
	}
	g.release()
	if rest, err := io.ReadAll(plain); err != nil || string(rest) != second {
		t.Errorf("then %d bytes, want %d; %v", len(rest), len(second), err)
	}
}

func TestABrokenBodyIsNoWholeEncodedOne(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, listing)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	for _, coding := range []string{"zstd", "br", "gzip"} {
		if got := e.get("/list", "Accept-Encoding", coding); got.err == nil {
			t.Errorf("%s: a whole body of %d bytes with %v", coding, len(got.body), got.header)
		}
	}
}

func TestA304PastTheCacheConfirmsWhatItsClientHas(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"v1"`)
		w.WriteHeader(http.StatusNotModified)
	})
	for _, tt := range []struct{ accept, has, want string }{
		{"br", `W/"v1"`, `W/"v1"`},
		{"br", `"v1"`, `"v1"`},
		{"identity", `W/"v1"`, `"v1"`},
	} {
		got := e.get("/item/1", "Authorization", "x", "Accept-Encoding", tt.accept, "If-None-Match", tt.has)
		if got.status != 304 || got.header.Get("Etag") != tt.want {
			t.Errorf("RFC 9111, 4.3.4: accepting %s with %s: %d, ETag %s, want %s", tt.accept, tt.has, got.status, got.header.Get("Etag"), tt.want)
		}
	}
}

func TestAboveTheBoundsIdentityIsSent(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says(listing, "Content-Type", "application/json", "Etag", `"v1"`))
	release := e.cache.HoldEncodings()
	e.expectCoding("a miss", e.get("/list", "Accept-Encoding", "br"), "", listing)
	e.expectCoding("a hit", e.get("/list", "Accept-Encoding", "br"), "", listing)
	release()
	e.expectCoding("a hit, later", e.get("/list", "Accept-Encoding", "br"), "br", listing)
	for range 2 {
		e.expectCoding("past the cache", e.get("/item/1", "Accept-Encoding", "br", "Authorization", "x"), "br", listing)
	}
	env.Until(e, "the end of all encodings", func() bool { return e.cache.Streaming() == 0 })
}

func TestAPlaceIsGivenBackByWhoeverLeaves(t *testing.T) {
	e := newEdge(t, options{})
	g := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, listing)
		_ = http.NewResponseController(w).Flush()
		g.wait()
	})
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.server.URL+"/item/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "zstd")
	req.Header.Set("Authorization", "x")
	resp, err := e.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if e.cache.Streaming() != 1 {
		t.Errorf("%d slots are taken", e.cache.Streaming())
	}
	leave()
	_ = resp.Body.Close()
	env.Until(e, "the place", func() bool { return e.cache.Streaming() == 0 })
}
