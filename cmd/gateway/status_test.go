package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/jewgo/gateway/test/env"
)

const statusPolicy = `
version: 1
server: {data_dir: ./data, timeouts: {read_header: 30s}}
redis: {url: %q, budget: 2s}
upstreams: {app: {targets: [%q]}, idle: {targets: ["http://127.0.0.1:1"]}}
limits: {few: {key: client_ip, rate: 2/h}}
routes:
  - {name: all, match: {path: "/{rest...}"}, upstream: app, cache: {ttl: 60s}}
  - {name: few, match: {path: /few}, upstream: app, limits: [few]}
  - {name: idle, match: {path: /idle}, upstream: idle}
`

func TestStatusAndChanges(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(upstream.Close)
	server := env.Redis(t)
	here, there := policyFolder(t)
	file, text := filepath.Join(here, "gateway.yaml"), fmt.Sprintf(statusPolicy, server.URL, upstream.URL)
	writePolicy(t, file, text)
	own(t, here)
	g := start(t, nil, "run", "--config", filepath.Join(there, "gateway.yaml"))
	g.stderr.await(t, "redis is in use")
	verb := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		execute(append(args, "--admin", strings.TrimPrefix(g.admin, "http://"), "--token-file", filepath.Join(here, "data", "admin.token")), &out, &out)
		return out.String()
	}
	prints := func(want string, args ...string) {
		t.Helper()
		if got := verb(args...); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%q printed\n%swant %s", args, got, want)
		}
	}

	prints(`(?s)^gateway +\S+, ok\npolicy +.*gateway\.yaml [0-9a-f]{12} since \S+\nredis +ok, up since .*\nrequests +no requests in the last \d+s\n +no refused \(429\), no failed \(5xx\)\ncache +no hits\nupstream app +1 targets, not checked, 0 in flight, no requests, 0 failed\nupstream idle `, "status")
	for _, path := range []string{"/a", "/a", "/a", "/broken", "/few", "/few", "/few", "/few"} {
		g.get(path)
	}
	var v statusView
	if err := json.Unmarshal([]byte(verb("status", "--json")), &v); err != nil {
		t.Fatal(err)
	}
	if r := v.Recent; r.Requests.Count != 8 || r.Limited != 2 || r.Failed != 1 || r.Cached != 4 || r.Hits != 2 || r.Requests.P99 <= 0 || v.Upstreams["app"].Count != 4 || v.Upstreams["app"].Failed != 1 {
		t.Errorf("%+v %+v", r, v.Upstreams)
	}
	prints(`\n +25\.0% refused \(429\), 12\.5% failed \(5xx\)\ncache +50\.0% hits\n(.*\n)+limited +few\|9:127\.0\.0\.1: 2 of 4 refused\n$`, "status")

	server.Kill()
	g.stderr.await(t, "redis is unavailable")
	prints(`^gateway +\S+, degraded\n(.*\n)+redis +degraded, down since .*local memory serves`, "status")

	// It is shown again until it is interrupted.
	cmd := command(t, "status", "--watch", "--every", "100ms", "--json", "--admin", strings.TrimPrefix(g.admin, "http://"))
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	env.Eventually(t, env.Patience, func() error {
		if n := strings.Count(out.String(), "\n"); n < 3 {
			return fmt.Errorf("%d lines", n)
		}
		return nil
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after INT: %v\n%s", err, out.String())
	}
	prints(`--every must be positive`, "status", "--watch", "--every", "0s")

	// What a reload changed, and what it could not.
	prints(`in force since \S+\nit was not reloaded since the start\n$`, "changes")
	writePolicy(t, file, strings.NewReplacer("ttl: 60s", "ttl: 2m", "2/h", "3/h").Replace(text))
	prints("^reloaded\n$", "reload")
	prints(`in force since \S+\nlimits\.few\.burst +2 +-> +3\nlimits\.few\.rate +2/h +-> +3/h\nroutes\.all\.cache\.ttl +1m +-> +2m\n$`, "changes")
	writePolicy(t, file, strings.Replace(text, "ttl: 60s", "tll: 60s", 1))
	prints(`unknown key "tll"`, "reload")
	prints(`routes\.all\.cache\.ttl +1m +-> +2m\nrefused at \S+: .*:8:\d+: unknown key "tll"`, "changes")
	prints(`a later one was refused; gateway changes says why`, "status")
	writePolicy(t, file, text)
	prints("^reloaded\n$", "reload")
	if got := verb("changes"); strings.Contains(got, "refused") {
		t.Errorf("after a good one: %s", got)
	}
	g.signal(syscall.SIGTERM)
	<-g.ended
	g.ended <- nil
	prints(`no gateway at 127\.0\.0\.1:\d+: .*connection refused`, "status")
}
