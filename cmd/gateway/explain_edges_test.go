package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

// Asking about a session by its ID does not bring it from Redis into memory.
func TestExplainLeavesSessionsWhereTheyAre(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	rig := startExplainRig(t, explainPolicy, server.URL)
	rig.awaitRedis("up")
	client := goredis.NewClient(&goredis.Options{Addr: strings.TrimPrefix(server.URL, "redis://")})
	t.Cleanup(func() { _ = client.Close() })
	now := time.Now().Truncate(time.Second)
	key := strings.Repeat("0123456789abcdef", 4)
	record := session.Record{Claims: session.Claims{User: "anna", Issued: now, Idle: now.Add(time.Hour), Absolute: now.Add(time.Hour)}}
	if err := redis.NewSessions(client, time.Now).Save(t.Context(), key, record); err != nil {
		t.Fatal(err)
	}
	x := rig.explain(url.Values{"method": {"GET"}, "url": {"http://api.example.org/mine"}, "session": {key[:16]}})
	if x.Session.State != "valid" || x.Session.User != "anna" {
		t.Errorf("session: %+v", x.Session)
	}
	server.Kill()
	rig.awaitRedis("down")
	if found, err := rig.sessions.Find(t.Context(), key); err == nil {
		t.Errorf("explaining kept the session: %+v", found)
	}
}

// A write whose outcome is unknown purges twice, and is said once. What it is in doubt is not stored.
func TestExplainOfAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	rig := startExplainRig(t, explainPolicy, "")
	x := rig.explain(url.Values{"method": {"PUT"}, "url": {"http://api.example.org/item/1"}, "status": {"504"}})
	if tags := slices.Compact(slices.Sorted(slices.Values(x.Purged))); len(tags) == 0 || len(tags) != len(x.Purged) {
		t.Errorf("purged: %q", x.Purged)
	}
}

// While the outcome of a write is unknown, responses that it may change are not stored: explain says so.
func TestExplainKnowsOfDoubts(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusGatewayTimeout)
		}
	}))
	t.Cleanup(upstream.Close)
	g, s := inThisProcess(t, explainPolicy, map[string]string{"REDIS_URL": "", "UPSTREAM_URL": upstream.URL})
	keys, err := loadSecrets(s.Policy, g.log)
	if err != nil {
		t.Fatal(err)
	}
	do := func(method string) *http.Response {
		w := httptest.NewRecorder()
		g.handler.ServeHTTP(w, httptest.NewRequest(method, "http://api.example.org/item/1", nil))
		return w.Result()
	}
	if r := do(http.MethodPut); r.StatusCode != http.StatusGatewayTimeout {
		t.Fatal(r.Status)
	}
	answer, err := g.explainer(keys).answer(t.Context(), url.Values{"method": {"GET"}, "url": {"http://api.example.org/item/1"}})
	if err != nil {
		t.Fatal(err)
	}
	if c := answer.(*explanation).Cache; c == nil || c.Stores != nil {
		t.Errorf("would store %+v", c)
	}
	for range 2 {
		if got := do(http.MethodGet).Header.Get("Cache-Status"); strings.Contains(got, "hit") {
			t.Errorf("stored meanwhile: %s", got)
		}
	}
}

// A policy with HTTPS has no address at which plain HTTP gets to the routes.
func TestExplainRefusesPlainHTTPBesideHTTPS(t *testing.T) {
	t.Parallel()
	s, err := policy.Parse("gateway.yaml", []byte(`
version: 1
server: {hosts: [api.example.org], tls: {certificates: [{cert_file: c, key_file: k}], redirect: ":80"}}
upstreams: {app: {targets: ["http://127.0.0.1:5000"]}}
routes: [{name: all, match: {path: "/{rest...}"}, upstream: app}]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]bool{"http://api.example.org/a": false, "https://api.example.org/a": true, "/a": true} {
		if _, err := parseQuestion(url.Values{"method": {"GET"}, "url": {target}}, s, time.Now()); (err == nil) != want {
			t.Errorf("%s: %v", target, err)
		}
	}
}

// So far ahead that clocks overflow, nothing can be said.
func TestExplainRefusesWhatIsTooFarAhead(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, text := range []string{"2562047h", "9000-01-01T00:00:00Z", "2500000h"} {
		if ahead, err := parseAt(text, now); err == nil {
			t.Errorf("%s: %v", text, ahead)
		}
	}
	if _, err := parseAt("+8760h", now); err != nil {
		t.Error(err)
	}
}
