package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/testenv"
)

// fleetPolicy is one of two gateways; the upstream and the Redis stand for %s.
const fleetPolicy = `
version: 1
server: {data_dir: ./%[1]s, peers: "127.0.0.1:0"}
redis: {url: %[2]q, budget: 500ms}
session: {cookie: {name: gw, secure: false}, keys_file: ./session.keys, identity: {keys_file: ./identity.keys}}
upstreams:
  app: {targets: [%[3]q]}
routes:
  - {name: auth, match: {path: "/auth/{verb}"}, upstream: app, session: optional, session_signal: true}
  - {name: home, match: {path: /home}, upstream: app, session: required}
`

// signals is a backend that logs in and out.
func signals(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/auth/login":
		w.Header().Set("X-Gw-Session", `login {"user":"42"}`)
	case "/auth/logout":
		w.Header().Set("X-Gw-Session", "logout")
	}
	_, _ = io.WriteString(w, "done")
}

// startFleet runs two gateways that share keys, a Redis and a backend.
func startFleet(t *testing.T, redisURL string) (a, b *gatewayProcess) {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(signals))
	t.Cleanup(upstream.Close)
	here, there := policyFolder(t)
	var both []*gatewayProcess
	for _, name := range []string{"a", "b"} {
		writePolicy(t, filepath.Join(here, name+".yaml"), fmt.Sprintf(fleetPolicy, name, redisURL, upstream.URL))
	}
	own(t, here)
	for _, name := range []string{"a", "b"} {
		both = append(both, start(t, nil, "run", "--config", filepath.Join(there, name+".yaml")))
	}
	for _, g := range both {
		eventually(t, 20*time.Second, func() error {
			if r := g.get(g.admin + "/readyz?verbose"); !strings.Contains(r.body, "peers: 1 of 1 reachable") {
				return fmt.Errorf("readyz:\n%s", r.body)
			}
			return nil
		})
	}
	return both[0], both[1]
}

func (g *gatewayProcess) begin(t *testing.T) (cookie string) {
	t.Helper()
	for _, c := range g.do("POST", "/auth/login", "").Cookies() {
		return c.Name + "=" + c.Value
	}
	t.Fatal("the login made no session")
	return ""
}

func (g *gatewayProcess) wantHome(t *testing.T, when, cookie string, status int) {
	t.Helper()
	if a := g.get("/home", "Cookie", cookie); a.StatusCode != status {
		t.Errorf("%s: %s, want %d", when, a.Status, status)
	}
}

func TestALogoutWithoutRedisReachesTheOtherGateway(t *testing.T) {
	server := testenv.Redis(t)
	a, b := startFleet(t, server.URL)
	ended, late, other := a.begin(t), a.begin(t), a.begin(t)
	b.wantHome(t, "before", ended, http.StatusOK)
	server.Kill()
	if out := a.do("POST", "/auth/logout", "", "Cookie", ended); out.StatusCode != http.StatusOK {
		t.Fatalf("logout: %s", out.Status)
	}
	eventually(t, time.Second, func() error {
		if r := b.get("/home", "Cookie", ended); r.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("the other gateway, after the logout: %s", r.Status)
		}
		return nil
	})
	b.wantHome(t, "another session", other, http.StatusOK)

	// A gateway that was not there is told when it comes back, and comes back
	// knowing what it was told before.
	b.signal(syscall.SIGTERM)
	b.wait(20 * time.Second)
	if out := a.do("POST", "/auth/logout", "", "Cookie", late); out.StatusCode != http.StatusOK {
		t.Fatalf("logout: %s", out.Status)
	}
	b = b.again()
	b.wantHome(t, "what it was told before its restart", ended, http.StatusUnauthorized)
	eventually(t, 20*time.Second, func() error {
		if r := b.get("/home", "Cookie", late); r.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("what it missed: %s", r.Status)
		}
		return nil
	})
	b.wantHome(t, "another session after its restart", other, http.StatusOK)
}
