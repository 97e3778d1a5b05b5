package proxy

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jewgo/gateway/policy"
)

// distant forwards bytes at once and the end of a connection later, as a network does: writes in
// between go to a connection that is already closed.
func distant(t *testing.T, target string, delay time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", strings.TrimPrefix(target, "http://"))
			if err != nil {
				_ = near.Close()
				continue
			}
			stop := context.AfterFunc(ctx, func() { _, _ = near.Close(), far.Close() })
			all.Go(func() {
				_, _ = io.Copy(far, near)
				_ = far.Close()
			})
			all.Go(func() {
				defer stop()
				_, _ = io.Copy(near, far)
				select {
				case <-time.After(delay):
				case <-ctx.Done():
				}
				_ = near.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		all.Wait()
	})
	return "http://" + l.Addr().String()
}

// A POST must not use a connection that its upstream is about to close. The upstream's Keep-Alive
// timeout is respected; without one the policy's idle time counts.
func TestPostsMeetNoClosingConnection(t *testing.T) {
	const kept = time.Second // by the upstream
	for name, tt := range map[string]struct {
		idle   time.Duration
		hint   string
		failed bool
	}{
		"kept for longer than the upstream keeps it": {time.Minute, "", true},
		"kept for less":              {kept / 2, "", false},
		"the upstream tells":         {time.Minute, "timeout=1, max=100", false},
		"it tells more than we keep": {kept / 2, "timeout=60", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if tt.hint != "" {
					w.Header().Set("Keep-Alive", tt.hint)
				}
			}))
			s.Config.IdleTimeout, s.Config.ErrorLog = kept, log.New(io.Discard, "", 0)
			s.Start()
			t.Cleanup(s.Close)
			app := one(distant(t, s.URL, 400*time.Millisecond))
			app.Idle = policy.Duration(tt.idle)
			e := newEdge(t, setup{app: app, progress: patience})
			failed := 0
			for range 4 {
				if resp, _ := e.do(t, request(t, http.MethodPost, e.URL, strings.NewReader("text"))); resp.StatusCode != http.StatusOK {
					failed++
				}
				time.Sleep(kept + kept/5)
			}
			t.Logf("%d of 4 failed", failed)
			if (failed > 0) != tt.failed {
				t.Errorf("%d of 4 failed", failed)
			}
		})
	}
}

func TestKeptFor(t *testing.T) {
	for line, want := range map[string]time.Duration{
		"timeout=5":            4 * time.Second,
		"timeout=2":            time.Second,
		"timeout=1":            500 * time.Millisecond,
		"timeout=0":            time.Millisecond,
		"max=100, Timeout=75 ": 74 * time.Second,
		"timeout=5s":           -1,
		"timeout=-1":           -1,
		"timeout":              -1,
		"timeout=99999999999":  -1,
		"":                     -1,
	} {
		got, ok := keptFor(http.Header{"Keep-Alive": {line}})
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	}
}

// A route's own bounds override the upstream's.
func TestRoutesHaveBoundsOfTheirOwn(t *testing.T) {
	t.Parallel()
	slow := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/head" {
			time.Sleep(2 * time.Second)
			return
		}
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		time.Sleep(2 * time.Second)
		_, _ = io.WriteString(w, "late")
	})
	const short, long = 800 * time.Millisecond, patience // what is in time has 800 ms, on a busy machine too
	for _, tt := range []struct {
		name, path        string
		timeout, progress time.Duration // the route's
		fails             bool
	}{
		{"a head that is late", "/head", short, long, true},
		{"a head that may be late", "/head", long, short, false},
		{"a body that stalls", "/body", long, short, true},
		{"a body that may stall", "/body", short, long, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, setup{app: one(slow), progress: short, route: policy.Route{Timeout: tt.timeout, Progress: tt.progress}})
			resp, err := e.Client().Do(request(t, http.MethodGet, e.URL+tt.path, nil))
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			if fails := err != nil || resp.StatusCode != http.StatusOK; fails != tt.fails {
				t.Errorf("fails: %v, %v", fails, err)
			}
		})
	}
}
