package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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

// fleetPolicy is one of two gateways; the upstream and the Redis stand for %s.
const fleetPolicy = `
version: 1
server: {data_dir: ./%[1]s, peers: "127.0.0.1:0", timeouts: {read_header: 30s}}
redis: {url: %[2]q, budget: 2s}
session: {cookie: {name: gw, secure: false}, keys_file: ./%[4]s, identity: {keys_file: ./identity.keys}}
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

// startFleet runs two gateways that share a Redis and a backend. rings are their
// keyrings; none: they share one.
func startFleet(t *testing.T, redisURL string, rings ...string) (a, b *gatewayProcess) {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(signals))
	t.Cleanup(upstream.Close)
	here, there := policyFolder(t)
	var both []*gatewayProcess
	for i, name := range []string{"a", "b"} {
		keys := "session.keys"
		if rings != nil {
			keys = name + ".keys"
			if err := os.WriteFile(filepath.Join(here, keys), []byte(rings[i]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		writePolicy(t, filepath.Join(here, name+".yaml"), fmt.Sprintf(fleetPolicy, name, redisURL, upstream.URL, keys))
	}
	own(t, here)
	for _, name := range []string{"a", "b"} {
		both = append(both, start(t, nil, "run", "--config", filepath.Join(there, name+".yaml")))
	}
	for _, g := range both {
		env.Eventually(t, 20*time.Second, func() error {
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
	t.Parallel()
	server := env.Redis(t)
	a, b := startFleet(t, server.URL)
	ended, late, other := a.begin(t), a.begin(t), a.begin(t)
	b.wantHome(t, "before", ended, http.StatusOK)
	server.Kill()
	if out := a.do("POST", "/auth/logout", "", "Cookie", ended); out.StatusCode != http.StatusOK {
		t.Fatalf("logout: %s", out.Status)
	}
	env.Eventually(t, 5*time.Second, func() error {
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
	env.Eventually(t, 20*time.Second, func() error {
		if r := b.get("/home", "Cookie", late); r.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("what it missed: %s", r.Status)
		}
		return nil
	})
	b.wantHome(t, "another session after its restart", other, http.StatusOK)
}

// While a keyring is rotated in a fleet, gateways whose first keys differ hear
// each other.
func TestGatewaysHearEachOtherDuringARotation(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	line := func(id, letter string) string {
		return id + ":" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, 32))) + "\n"
	}
	before, after := line("k1", "a")+line("k2", "b"), line("k2", "b")+line("k1", "a")
	a, b := startFleet(t, server.URL, before, after)
	ofA, ofB := a.begin(t), b.begin(t)
	server.Kill()
	for _, g := range []*gatewayProcess{a, b} {
		for _, cookie := range []string{ofA, ofB} {
			g.wantHome(t, "a cookie sealed with either key", cookie, http.StatusOK)
		}
	}
	a.do("POST", "/auth/logout", "", "Cookie", ofA)
	b.do("POST", "/auth/logout", "", "Cookie", ofB)
	env.Eventually(t, env.Patience, func() error {
		there, here := b.get("/home", "Cookie", ofA), a.get("/home", "Cookie", ofB)
		if there.StatusCode != http.StatusUnauthorized || here.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("after logouts on the other gateway: %s, %s", there.Status, here.Status)
		}
		return nil
	})
}

func (g *gatewayProcess) onePeer(t *testing.T) peerView {
	t.Helper()
	var v struct{ Peers []peerView }
	a := g.get(g.admin + "/v1/redis")
	if err := json.Unmarshal([]byte(a.body), &v); err != nil || len(v.Peers) != 1 {
		t.Fatalf("%v, peers %v in\n%s", err, v.Peers, a.body)
	}
	return v.Peers[0]
}

func TestPeersAreShown(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	a, b := startFleet(t, env.Redis(t).URL)
	told := a.begin(t)
	a.do("POST", "/auth/logout", "", "Cookie", told)
	env.Eventually(t, 10*time.Second, func() error {
		p := a.onePeer(t)
		if !p.Reachable || p.Pending != 0 || p.Behind || p.Error != "" || p.Delivered.Before(begin) || p.Seen.Before(begin) {
			return fmt.Errorf("after a logout: %+v", p)
		}
		numbers := a.get(a.admin + "/metrics").body
		for _, want := range []string{
			fmt.Sprintf("\ngateway_peer_up{peer=%q} 1\n", p.Address), fmt.Sprintf("\ngateway_peer_pending{peer=%q} 0\n", p.Address),
			fmt.Sprintf("\ngateway_peer_delivered_timestamp_seconds{peer=%q} 1.", p.Address),
		} {
			if !strings.Contains(numbers, want) {
				return fmt.Errorf("no %q in the metrics", want)
			}
		}
		return nil
	})

	missed := a.begin(t)
	b.signal(syscall.SIGKILL)
	b.wait(20 * time.Second)
	a.do("POST", "/auth/logout", "", "Cookie", missed)
	env.Eventually(t, 10*time.Second, func() error {
		p := a.onePeer(t)
		if p.Reachable || p.Pending == 0 && !p.Behind || p.Error == "" {
			return fmt.Errorf("with the peer gone: %+v", p)
		}
		if numbers := a.get(a.admin + "/metrics").body; !strings.Contains(numbers, fmt.Sprintf("\ngateway_peer_up{peer=%q} 0\n", p.Address)) {
			return errors.New("the metrics have the peer up")
		}
		return nil
	})
}

// Whoever holds no key cannot hold the peers' listener either.
func TestThePeersListenerWaitsForNobody(t *testing.T) {
	t.Parallel()
	a, _ := startFleet(t, env.Redis(t).URL)
	address := a.onePeer(t).Address
	for _, said := range []string{
		"",
		"POST /v1/records HTTP/1.1\r\nHost: b\r\n",
		"POST /v1/records HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\n",
	} {
		t.Run(fmt.Sprintf("%q", said), func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if _, err := io.WriteString(c, said); err != nil {
				t.Fatal(err)
			}
			if err := c.SetReadDeadline(time.Now().Add(40 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is still open")
			}
		})
	}
}

// A gateway whose keyring has nothing in common with the others' is not ready.
func TestAnotherKeyringIsNotReady(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(upstream.Close)
	here, there := policyFolder(t)
	var both []*gatewayProcess
	for _, name := range []string{"a", "b"} { // each makes keys of its own
		writePolicy(t, filepath.Join(here, name+".yaml"), fmt.Sprintf(fleetPolicy, name, server.URL, upstream.URL, name+".keys"))
	}
	own(t, here)
	for _, name := range []string{"a", "b"} {
		both = append(both, start(t, nil, "run", "--config", filepath.Join(there, name+".yaml")))
	}
	for _, g := range both {
		env.Eventually(t, env.Patience, func() error {
			if r := g.get(g.admin + "/readyz?verbose"); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(r.body, "has no key in common with this gateway") {
				return fmt.Errorf("readyz: %s\n%s", r.Status, r.body)
			}
			return nil
		})
	}
}
