package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/test/env"
)

const listOf50 = "/api/v5/restaurants?page=1&limit=50&include_filter_options=true"

// jewgo is the gateway with configs/gateway.yaml in front of a real Flask.
type jewgo struct {
	*gatewayProcess
	backend string
	policy  string // path here
}

// startJewGo starts both. redisURL "" is no Redis.
func startJewGo(t *testing.T, redisURL string) *jewgo {
	t.Helper()
	return startJewGoAs(t, redisURL, func(*exec.Cmd) {})
}

// startJewGoAs is startJewGo of a gateway that set has changed something of.
func startJewGoAs(t *testing.T, redisURL string, set func(*exec.Cmd)) *jewgo {
	t.Helper()
	here, there := policyFolder(t)
	text, err := os.ReadFile("../../configs/gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(here, "gateway.yaml")
	writePolicy(t, file, strings.Replace(string(text), "read_header: 3s", "read_header: 30s", 1)) // the machine may be busy
	keys := filepath.Join(t.TempDir(), "identity.keys")
	if _, err := session.LoadKeyring(keys); err != nil { // makes it: Flask is to share it
		t.Fatal(err)
	}
	shared, err := os.ReadFile(keys)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(here, "identity.keys"), shared, 0o600); err != nil {
		t.Fatal(err)
	}
	own(t, here)
	backend := env.Flask(t, "IDENTITY_KEYS="+keys)
	env := []string{
		"UPSTREAM_URL=" + backend, "REDIS_URL=" + redisURL, "GATEWAY_DATA_DIR=./data", "IDENTITY_KEYS_FILE=./identity.keys",
		"GATEWAY_COOKIE_NAME=gw", "GATEWAY_COOKIE_SECURE=false",
	}
	g := startAs(t, func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, env...)
		set(cmd)
	}, "run", "--config", filepath.Join(there, "gateway.yaml"))
	return &jewgo{g, backend, file}
}

// own gives a folder to the user that the gateway under test runs as, if that
// is not the one that runs the tests: it is the owner of GATEWAY_E2E_DIR.
func own(t *testing.T, dir string) {
	t.Helper()
	shared := os.Getenv("GATEWAY_E2E_DIR")
	if shared == "" {
		return
	}
	info, err := os.Stat(shared)
	if err != nil {
		t.Fatal(err)
	}
	uid := int(info.Sys().(*syscall.Stat_t).Uid)
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, uid)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func redisURL(t *testing.T) string {
	t.Helper()
	return env.Redis(t).URL
}

func cacheStatus(a answer) string { return a.Header.Get("Cache-Status") }

func wantCache(t *testing.T, a answer, want string) {
	t.Helper()
	if got := cacheStatus(a); a.StatusCode != http.StatusOK || !strings.HasPrefix(got, "edge; "+want) {
		t.Errorf("%s %s: %s with Cache-Status %q, want edge; %s…", a.Request.Method, a.Request.URL, a.Status, got, want)
	}
}

// login returns the cookies of a user who may write, as a Cookie header.
func (g *jewgo) login(client string) string {
	g.t.Helper()
	a := g.do("POST", "/api/v5/auth/login", `{"email":"demo@example.org","password":"demo"}`,
		"Content-Type", "application/json", "X-Forwarded-For", client)
	if a.StatusCode != http.StatusOK {
		g.t.Fatalf("login: %s %s", a.Status, a.body)
	}
	var cookies []string
	for _, c := range a.Cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	return strings.Join(cookies, "; ")
}

func TestEndToEnd(t *testing.T) {
	t.Parallel()
	for name, redis := range map[string]func(*testing.T) string{"in Redis": redisURL, "in memory": func(*testing.T) string { return "" }} {
		t.Run(name, func(t *testing.T) {
			g := startJewGo(t, redis(t))
			t.Run("a list is filled once and then a hit, byte for byte", g.testHit)
			t.Run("of 210 requests the burst passes", g.testLimit)
			t.Run("an update makes the next list fresh, a view does not", g.testInvalidation)
			t.Run("a login's cookies reach the browser and nobody else", g.testCookies)
			t.Run("the backend learns who is calling, and only from the gateway", g.testIdentity)
			t.Run("debug pages are denied", g.testDenied)
			t.Run("one log line a request", g.testLog)
		})
	}
}

func (g *jewgo) testHit(t *testing.T) {
	first := g.get(listOf50)
	wantCache(t, first, "fwd=uri-miss")
	if n := len(first.body); n < 220_000 {
		t.Errorf("the list has %d bytes", n)
	}
	second := g.get(listOf50)
	wantCache(t, second, "hit")
	if first.body != second.body {
		t.Error("the hit is not what was stored")
	}
	if second.Header.Get("Age") == "" || second.Header.Get("Etag") != first.Header.Get("Etag") {
		t.Errorf("hit's headers: %v", second.Header)
	}
	not := g.get(listOf50, "If-None-Match", first.Header.Get("Etag"))
	if not.StatusCode != http.StatusNotModified || not.body != "" {
		t.Errorf("with the ETag: %s", not.Status)
	}
	reordered := g.get("/api/v5/restaurants?limit=50&include_filter_options=true&page=1&dietary=ignored")
	wantCache(t, reordered, "hit")
}

func (g *jewgo) testLimit(t *testing.T) {
	const path = "/api/v5/mikvahs"
	g.get(path)
	var mu sync.Mutex
	statuses := map[int]int{}
	var wg sync.WaitGroup
	atOnce := make(chan struct{}, 8) // more wait for each other on a busy machine, until Redis seems to hang
	began := time.Now()
	for range 210 {
		wg.Go(func() {
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			a := g.get(path, "X-Forwarded-For", "198.51.100.1", "Origin", "https://jewgo.app")
			mu.Lock()
			defer mu.Unlock()
			statuses[a.StatusCode]++
			if a.StatusCode == http.StatusTooManyRequests {
				if a.Header.Get("Retry-After") == "" || a.Header.Get("RateLimit") == "" || a.Header.Get("X-RateLimit-Limit") != "200" {
					t.Errorf("a refusal without its headers: %v", a.Header)
				}
				if a.Header.Get("Access-Control-Allow-Origin") != "https://jewgo.app" {
					t.Error("a script cannot read the refusal")
				}
			}
		})
	}
	wg.Wait()
	most := min(209, 201+int(2*time.Since(began).Seconds())) // a burst of 200, then 120 a minute
	const least = 200 - 200/20                               // a lease is lost if Redis answers too late, as on a busy machine
	if ok := statuses[200]; ok < least || ok > most || ok+statuses[429] != 210 {
		local := strings.Count(g.stdout.String(), `"local":true`)
		t.Errorf("statuses %v, want %d to %d times 200 and else 429; %d were decided locally", statuses, least, most, local)
	}
	if a := g.get(path, "X-Forwarded-For", "198.51.100.2"); a.StatusCode != http.StatusOK {
		t.Errorf("another client: %s", a.Status)
	}
}

func (g *jewgo) testInvalidation(t *testing.T) {
	const list = "/api/v5/restaurants?limit=5"
	id := firstID(t, g.get(list).body)
	wantCache(t, g.get(list), "hit")
	if a := g.do("POST", "/api/v5/restaurants/"+id+"/view", ""); a.StatusCode != http.StatusOK {
		t.Fatalf("view: %s %s", a.Status, a.body)
	}
	wantCache(t, g.get(list), "hit")
	cookies := g.login("198.51.100.10")
	refused := g.do("PUT", "/api/v5/restaurants/"+id, `{"name":"Nobody may"}`, "Content-Type", "application/json")
	if refused.StatusCode != http.StatusUnauthorized {
		t.Errorf("an update by nobody: %s", refused.Status)
	}
	wantCache(t, g.get(list), "hit") // a refused update changed nothing
	name := "Renamed " + t.Name()
	body, err := json.Marshal(map[string]string{"name": name})
	if err != nil {
		t.Fatal(err)
	}
	if a := g.do("PUT", "/api/v5/restaurants/"+id, string(body), "Content-Type", "application/json", "Cookie", cookies); a.StatusCode != http.StatusOK {
		t.Fatalf("update: %s %s", a.Status, a.body)
	}
	fresh := g.get(list)
	wantCache(t, fresh, "fwd=")
	if !strings.Contains(fresh.body, name) {
		t.Error("the list after the update does not show it")
	}
	wantCache(t, g.get(list), "hit")
}

func firstID(t *testing.T, list string) string {
	t.Helper()
	var rows struct{ Data []struct{ ID int } }
	if err := json.Unmarshal([]byte(list), &rows); err != nil || len(rows.Data) == 0 {
		t.Fatalf("list: %v, %d rows", err, len(rows.Data))
	}
	return fmt.Sprint(rows.Data[0].ID)
}

func (g *jewgo) testCookies(t *testing.T) {
	a := g.do("POST", "/api/v5/auth/login", `{"email":"demo@example.org","password":"demo","expires_in":60}`,
		"Content-Type", "application/json", "X-Forwarded-For", "198.51.100.20")
	got := map[string]string{}
	var line []string
	for _, c := range a.Cookies() {
		got[c.Name] = c.Value
		if c.Name != "gw" { // which would be enough, and leave the backend's own cookies as they are
			line = append(line, c.Name+"="+c.Value)
		}
	}
	if got["access_token"] == "" || got["refresh_token"] == "" || got["gw"] == "" {
		t.Fatalf("login: %s, cookies %v", a.Status, got)
	}
	if a.Header.Get("X-Gw-Session") != "" {
		t.Error("the signal reached the browser")
	}
	// The token is about to end: the backend renews it on any GET, a list too.
	const list = "/api/v5/restaurants?limit=7"
	renewed := g.get(list, "Cookie", strings.Join(line, "; "))
	if len(renewed.Cookies()) == 0 {
		t.Fatalf("the backend renewed nothing: %v", renewed.Header)
	}
	for i := range 3 {
		other := g.get(list)
		if len(other.Cookies()) != 0 {
			t.Fatalf("request %d of another browser got cookies: %v", i, other.Cookies())
		}
	}
	if a := g.get("/api/v5/auth/csrf"); len(a.Cookies()) == 0 || cacheStatus(a) != "" {
		t.Errorf("csrf: cookies %v, Cache-Status %q", a.Cookies(), cacheStatus(a))
	}
}

func (g *jewgo) testIdentity(t *testing.T) {
	gw := ""
	for pair := range strings.SplitSeq(g.login("198.51.100.30"), "; ") {
		if strings.HasPrefix(pair, "gw=") {
			gw = pair
		}
	}
	if a := g.get("/api/v5/auth/profile", "Cookie", gw); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "demo@example.org") {
		t.Errorf("with the gateway's session: %s %s", a.Status, a.body)
	}
	if a := g.get("/api/v5/auth/profile"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("without: %s", a.Status)
	}
	var echo struct{ Headers map[string]string }
	a := g.get("/api/v5/echo", "Cookie", gw+"; other=1")
	if err := json.Unmarshal([]byte(a.body), &echo); err != nil {
		t.Fatalf("echo: %v: %s", err, a.body)
	}
	var identity, cookies string
	for name, v := range echo.Headers {
		switch strings.ToLower(name) {
		case "x-gw-identity":
			identity = v
		case "cookie":
			cookies = v
		}
	}
	if identity == "" || cookies != "other=1" {
		t.Errorf("the backend got identity %q and cookies %q", identity, cookies)
	}
	forged := g.get("/api/v5/auth/profile", "X-Gw-Identity", identity)
	if forged.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a copied identity header: %s", forged.Status)
	}
	out := g.do("POST", "/api/v5/auth/logout", "", "Cookie", gw)
	if c := out.Cookies(); out.StatusCode != http.StatusOK || len(c) == 0 {
		t.Errorf("logout: %s, cookies %v", out.Status, c)
	}
	if a := g.get("/api/v5/auth/profile", "Cookie", gw); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("the old cookie after logout: %s", a.Status)
	}
}

func (g *jewgo) testDenied(t *testing.T) {
	for _, path := range []string{"/api/v5/debug/config", "/api/v5/debug", "/api/v5/%64ebug/config"} {
		if a := g.get(path); a.StatusCode != http.StatusNotFound || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s %s", path, a.Status, a.body)
		}
	}
}

func (g *jewgo) testLog(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range g.accessLog() {
		for _, key := range []string{"request_id", "route", "status", "duration_ms", "bytes_out"} {
			if _, ok := l[key]; !ok {
				t.Fatalf("a line without %s: %v", key, l)
			}
		}
		for _, key := range []string{"cache", "limit", "session", "upstream", "reason"} {
			if l[key] != nil {
				seen[fmt.Sprint(key, "=", l[key])] = true
			}
		}
	}
	for _, want := range []string{"cache=hit", "cache=miss", "limit=anonymous", "session=created", "reason=denied by route"} {
		if !seen[want] {
			t.Errorf("no line says %s", want)
		}
	}
}
