package main

import (
	"bufio"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

const offloadPolicy = `
version: 1
upstreams: {flask: {targets: ["${UPSTREAM_URL}"]}}
session: {cookie: {name: gw, secure: false}, offload: [access_token, refresh_token, session]}
cors: {origins: ["https://*.jewgo.app"]}
routes:
  - {name: auth, match: {path: "/api/v5/auth/{rest...}"}, upstream: flask, session: optional, session_signal: true}
  - {name: webhook, match: {path: "/hook/{rest...}"}, upstream: flask}
  - {name: all, match: {path: "/{rest...}"}, upstream: flask, session: optional}
`

// startOffload runs the gateway in front of a backend whose cookies stay in the
// session.
func startOffload(t *testing.T, backend, redis string) *gatewayProcess {
	t.Helper()
	here, there := policyFolder(t)
	writePolicy(t, filepath.Join(here, "gateway.yaml"), offloadPolicy)
	own(t, here)
	return start(t, []string{"UPSTREAM_URL=" + backend, "REDIS_URL=" + redis}, "run", "--config", filepath.Join(there, "gateway.yaml"))
}

// browser keeps the cookies that the gateway sets.
type browser map[string]string

func (b browser) header() string {
	var pairs []string
	for name, value := range b {
		pairs = append(pairs, name+"="+value)
	}
	return strings.Join(pairs, "; ")
}

// send makes a form request with the browser's cookies.
func (b browser) send(g *gatewayProcess, method, path, body string, header ...string) answer {
	g.t.Helper()
	kind := "application/x-www-form-urlencoded"
	if strings.HasPrefix(body, "{") {
		kind = "application/json"
	}
	a := g.do(method, path, body, append(header, "Cookie", b.header(), "Content-Type", kind)...)
	for _, c := range a.Cookies() {
		if b[c.Name] = c.Value; c.MaxAge < 0 {
			delete(b, c.Name)
		}
	}
	return a
}

// flushAll empties a Redis that goes on.
func flushAll(t *testing.T, server *env.RedisServer) {
	t.Helper()
	conn, err := net.Dial("tcp", server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("FLUSHALL\r\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "+OK\r\n" {
		t.Fatalf("FLUSHALL: %q, %v", line, err)
	}
}

// lose takes everything away that is not in the browser or the journal.
func lose(g *gatewayProcess, server *env.RedisServer) *gatewayProcess {
	g.t.Helper()
	g.signal(syscall.SIGKILL)
	g.wait(20 * time.Second)
	flushAll(g.t, server)
	return g.again()
}

// An application that nobody changed signs in by its own cookies, which the
// browser never sees: they outlive Redis and the gateway, and not a logout.
func TestEndToEndCookiesStayInTheGateway(t *testing.T) {
	t.Parallel()
	for _, app := range []struct {
		says                            string
		backend                         func() string
		login, body, me, logout, seenAs string
	}{
		{
			says: "Flask with its own signed session", login: "/login", body: "user=dina", me: "/me", logout: "/logout",
			backend: func() string { return env.FlaskIn(t, "testdata/plainflask", "SECRET_KEY=plain") }, seenAs: "dina",
		},
		{
			says: "Flask-Session, whose cookie is an ID alone", login: "/login", body: "user=dina", me: "/me", logout: "/logout",
			backend: func() string {
				return env.FlaskIn(t, "testdata/plainflask", "SECRET_KEY=plain", "FLASK_SESSION_TYPE=filesystem", "FLASK_SESSION_FILE_DIR="+t.TempDir())
			}, seenAs: "dina",
		},
		{
			says: "JewGo's tokens, the identity header unread", login: "/api/v5/auth/login", body: `{"email":"demo@example.org","password":"demo"}`,
			me: "/api/v5/auth/me", logout: "/api/v5/auth/logout",
			backend: func() string { return env.Flask(t) }, seenAs: `"demo@example.org"`,
		},
	} {
		t.Run(app.says, func(t *testing.T) {
			server := env.Redis(t)
			g := startOffload(t, app.backend(), server.URL)
			g.t = t
			signedIn := func(when string, b browser, want int) {
				t.Helper()
				if a := b.send(g, "GET", app.me, ""); a.StatusCode != want || want == http.StatusOK && !strings.Contains(a.body, app.seenAs) {
					t.Errorf("%s: %s %s, want %d", when, a.Status, a.body, want)
				}
			}
			b := browser{}
			signedIn("before the login", b, http.StatusUnauthorized)
			if a := b.send(g, "POST", app.login, app.body); a.StatusCode != http.StatusOK {
				t.Fatalf("login: %s %s", a.Status, a.body)
			}
			if len(b) != 1 || b["gw"] == "" {
				t.Fatalf("the browser has %v, want gw alone", b)
			}
			signedIn("after the login", b, http.StatusOK)
			flushAll(t, server)
			signedIn("after FLUSHALL", b, http.StatusOK)
			g = lose(g, server)
			signedIn("after FLUSHALL and kill -9 of the gateway", b, http.StatusOK)
			server.Kill()
			signedIn("without Redis", b, http.StatusOK)
			server.Restart(true)
			g.readyz(t, "ok")

			copied := browser{"gw": b["gw"]}
			if a := b.send(g, "POST", app.logout, ""); a.StatusCode != http.StatusOK {
				t.Fatalf("logout: %s %s", a.Status, a.body)
			}
			if len(b) != 0 {
				t.Errorf("after the logout the browser has %v", b)
			}
			signedIn("after the logout", b, http.StatusUnauthorized)
			signedIn("the old cookie", browser{"gw": copied["gw"]}, http.StatusUnauthorized)
			g = lose(g, server)
			signedIn("the old cookie after FLUSHALL and kill -9", browser{"gw": copied["gw"]}, http.StatusUnauthorized)
		})
	}
}

func TestEndToEndABrowserCannotBringACookieThatStays(t *testing.T) {
	t.Parallel()
	backend := env.FlaskIn(t, "testdata/plainflask", "SECRET_KEY=plain")
	g := startOffload(t, backend, "")
	// The application's own cookie, as a browser had it without the gateway.
	direct := &gatewayProcess{t: t, base: backend}
	raw := browser{}
	raw.send(direct, "POST", "/login", "user=dina")
	if a := raw.send(direct, "GET", "/me", ""); a.StatusCode != http.StatusOK {
		t.Fatalf("without the gateway: %s", a.Status)
	}
	if a := raw.send(g, "GET", "/me", ""); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("the raw cookie: %s %s", a.Status, a.body)
	}
	raw["other"] = "1"
	if a := raw.send(g, "GET", "/cookies", ""); a.body != "other=1" {
		t.Errorf("the upstream got %q", a.body)
	}
}

func TestEndToEndAnotherSitesPageMayNotUseTheSession(t *testing.T) {
	t.Parallel()
	g := startOffload(t, env.FlaskIn(t, "testdata/plainflask", "SECRET_KEY=plain"), "")
	b := browser{}
	b.send(g, "POST", "/login", "user=dina")
	evil := []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}
	if a := b.send(g, "POST", "/logout", "", evil...); a.StatusCode != http.StatusForbidden || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("a page of another site: %s %s", a.Status, a.body)
	}
	if a := b.send(g, "POST", "/hook/x", "", evil...); a.StatusCode != http.StatusNotFound { // the application's answer
		t.Errorf("a route without sessions: %s %s", a.Status, a.body)
	}
	if a := b.send(g, "GET", "/me", "", evil...); a.body != "dina" {
		t.Errorf("reading: %s %s", a.Status, a.body)
	}
	if a := b.send(g, "POST", "/logout", "", "Sec-Fetch-Site", "same-site", "Origin", "https://www.jewgo.app"); a.StatusCode != http.StatusOK {
		t.Errorf("the front end: %s %s", a.Status, a.body)
	}
	log := g.accessLog()
	if reason, _ := log[1]["reason"].(string); !strings.HasPrefix(reason, "cross-origin request refused") {
		t.Errorf("the log says %v", log[1])
	}
}
