package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// A response without end keeps neither DELETE nor the end of the gateway waiting.
func TestWarmingAStreamWithoutEndStops(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 10)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		for r.Context().Err() == nil {
			_, _ = fmt.Fprint(w, ".")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	}))
	t.Cleanup(upstream.Close)
	here, there := policyFolder(t)
	writePolicy(t, filepath.Join(here, "gateway.yaml"), fmt.Sprintf(`
version: 1
server: {data_dir: ./data, timeouts: {drain: 1s}}
warm: [/stream]
upstreams: {app: {targets: [%q]}}
routes: [{name: stream, match: {path: /stream}, upstream: app, cache: {ttl: 60s}}]
`, upstream.URL))
	own(t, here)
	g := start(t, nil, "run", "--config", filepath.Join(there, "gateway.yaml"))
	select {
	case <-begun:
	case <-time.After(env.Patience):
		t.Fatal("the stream did not begin")
	}
	token, err := os.ReadFile(filepath.Join(here, "data", "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	if r := g.do("DELETE", g.admin+"/v1/warm", "", "Authorization", "Bearer "+strings.TrimSpace(string(token))); r.StatusCode != http.StatusOK || !strings.Contains(r.body, `"ended": true`) {
		t.Errorf("stopped: %s %s", r.Status, r.body)
	}
	if r := g.do("POST", g.admin+"/v1/warm", `{"urls":["/stream"]}`, "Authorization", "Bearer "+strings.TrimSpace(string(token))); r.StatusCode != http.StatusOK {
		t.Errorf("again: %s %s", r.Status, r.body)
	}
	<-begun
	g.signal(syscall.SIGTERM)
	if code := g.wait(env.Patience); code != 0 {
		t.Errorf("the gateway ended with %d", code)
	}
}
