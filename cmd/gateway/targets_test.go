package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// All targets of an upstream are down: /readyz says what clients get, and they do.
func TestAllTargetsDown(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "text") }))
	defer upstream.Close()
	here, there := policyFolder(t)
	text := strings.Replace(fmt.Sprintf(smallPolicy, upstream.URL), "]}", "], health: {path: /health, interval: 100ms, unhealthy_after: 1}}", 1)
	text += "  - {name: cached, match: {path: /cached}, upstream: app, cache: {ttl: 1s, stale_if_error: 1h}}\n"
	writePolicy(t, filepath.Join(here, "gateway.yaml"), text)
	own(t, here)
	g := start(t, nil, "run", "--config", filepath.Join(there, "gateway.yaml"))
	target := strings.TrimPrefix(upstream.URL, "http://")
	up := fmt.Sprintf("gateway_upstream_target_up{target=%q,upstream=\"app\"}", target)
	if got := g.metric(t, up); got != 1 {
		t.Errorf("%s %v", up, got)
	}
	g.get("/cached")
	upstream.Close()
	time.Sleep(time.Second) // the lifetime
	env.Eventually(t, 10*time.Second, func() error {
		if got := g.metric(t, up); got != 0 {
			return fmt.Errorf("%s %v", up, got)
		}
		return nil
	})
	ready := g.get(g.admin + "/readyz?verbose")
	want := "[~] upstream app: 0 of 1 targets healthy\n    cached routes: stored responses, also stale ones where stale_if_error allows it\n    anything else: 502, or 504 where it does not answer; every request still tries it\n"
	if ready.StatusCode != http.StatusOK || !strings.Contains(ready.body, want) {
		t.Errorf("%s\n%s", ready.Status, ready.body)
	}
	if res := g.get("/cached"); res.StatusCode != http.StatusOK || res.body != "text" {
		t.Errorf("what is stored: %s %q", res.Status, res.body)
	}
	if res := g.get("/other"); res.StatusCode != http.StatusBadGateway {
		t.Errorf("anything else: %s", res.Status)
	}
}
