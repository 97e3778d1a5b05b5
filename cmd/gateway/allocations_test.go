package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// hotPath is a request that the gateway answers by itself, again and again.
func hotPath(tb testing.TB, path string) func() *discarded {
	g, _ := benchGateway(tb, map[string]string{"REDIS_URL": "memory://", "UPSTREAM_URL": benchSmall(tb)})
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr = "192.0.2.1:1234"
	r.Header = http.Header{"User-Agent": {"bench"}, "Accept": {"*/*"}, "Accept-Encoding": {"gzip"}}
	w := &discarded{header: http.Header{}}
	once := func() *discarded {
		clear(w.header)
		g.handler.ServeHTTP(w, r)
		return w
	}
	once() // fills, or is the one that is not refused
	return once
}

// benchSmall is an upstream in this process.
func benchSmall(tb testing.TB) string {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("x", 1<<10)))
	}))
	tb.Cleanup(upstream.Close)
	return upstream.URL
}

// What the gateway allocates for a request, net/http aside. Times vary, this
// does not: what grows here is paid for by every request.
func TestAllocations(t *testing.T) {
	for _, tc := range []struct {
		what, path string
		status     int
		most       float64
	}{
		{"a refusal", "/refused", http.StatusTooManyRequests, 17},
		{"a fresh hit with a limit", "/cached/1024", http.StatusOK, 16},
	} {
		t.Run(tc.what, func(t *testing.T) {
			once := hotPath(t, tc.path)
			if w := once(); w.status != tc.status {
				t.Fatalf("status %d, want %d", w.status, tc.status)
			}
			if got := testing.AllocsPerRun(2000, func() { once() }); got > tc.most {
				t.Errorf("%v allocations, want at most %v", got, tc.most)
			}
		})
	}
}

func BenchmarkRefusal(b *testing.B)  { benchmarkHotPath(b, "/refused") }
func BenchmarkFreshHit(b *testing.B) { benchmarkHotPath(b, "/cached/1024") }

// BenchmarkMiss asks for something else each time; the upstream is in this process,
// and counts.
func BenchmarkMiss(b *testing.B) {
	g, _ := benchGateway(b, map[string]string{"REDIS_URL": "memory://", "UPSTREAM_URL": benchSmall(b)})
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		r := httptest.NewRequest(http.MethodGet, fmt.Sprintf("/cached/1024?n=%d", n), nil)
		r.RemoteAddr = fmt.Sprintf("192.0.%d.%d:1234", n>>8&255, n&255)
		w := &discarded{header: http.Header{}}
		if g.handler.ServeHTTP(w, r); w.status != http.StatusOK {
			b.Fatalf("status %d", w.status)
		}
	}
}

func benchmarkHotPath(b *testing.B, path string) {
	once := hotPath(b, path)
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}
