package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/test/env"
)

// benchDashboardPolicy has room for the keys of benchDashboardFill.
const benchDashboardPolicy = `
version: 1
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", hosts: [127.0.0.1]}
log: {access: off}
redis: {url: "${REDIS_URL}"}
ratelimit: {keys: 2000000}
upstreams: {api: {targets: ["http://127.0.0.1:1"]}}
limits:
  exact: {key: client_ip, rate: 100/s, tiers: {guest: {rate: 10/s}, standard: {rate: 200/s}, editor: {rate: 300/s}}}
routes:
  - {name: cached, match: {path: "/cached/{size}"}, upstream: api, limits: [exact], session: optional, cache: {ttl: 1h}}
  - {name: rest, match: {path: "/{rest...}"}, upstream: api}
`

const (
	benchKeys, benchSessions = 1_000_000, 100_000
	benchPageTarget          = 100 * time.Millisecond
)

// benchDashboardFill gives a gateway and its Redis many keys and sessions, those of user 42 among them.
func benchDashboardFill(t *testing.T, g *gateway, server *env.RedisServer) {
	t.Helper()
	server.Do("OK", "DEBUG", "POPULATE", fmt.Sprint(benchKeys), "rate:exact|", "50")
	for i := range benchKeys {
		b, mu := g.limits.local.Lock(fmt.Sprintf("exact|9:%d", i), 0)
		b.Admit(gcra.Quota{Rate: 1, Period: 24 * time.Hour, Burst: 1}, 0, 1)
		mu.Unlock()
	}
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := worker; i < benchSessions; i += 8 {
				at := time.Now()
				rec := session.Record{Claims: session.Claims{Generation: 1, User: fmt.Sprint(i / 3), Issued: at, Idle: at.Add(time.Hour), Absolute: at.Add(time.Hour)}}
				if err := g.stores.sessions.Save(exchange.With(t.Context(), &exchange.Exchange{}), fmt.Sprintf("%064x", i), rec); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// How long the dashboard's pages take with many keys and sessions, while Redis answers, hangs and is
// away.
func TestBenchDashboard(t *testing.T) {
	t.Parallel()
	if os.Getenv("GATEWAY_BENCH") == "" {
		t.Skip("GATEWAY_BENCH is not set; make bench-parts does that")
	}
	server := env.Redis(t, "--enable-debug-command", "yes")
	g, snapshot := inThisProcess(t, benchDashboardPolicy, map[string]string{"REDIS_URL": server.URL})
	servers, err := g.open(snapshot.Policy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(servers.close)
	admin := shownURL("http", servers.admin.listeners[0])
	benchDashboardFill(t, g, server)
	paths := []string{"/", "/routes", "/cache", "/cache?url=/cached/1", "/limits", "/limits?limit=exact&key=192.0.2.7", "/sessions", "/sessions?user=42", "/explain?method=GET&url=/cached/1", "/config"}
	worst := map[string][]time.Duration{}
	for i, redis := range []func(){func() {}, server.Stop, server.Kill} {
		redis()
		for range 20 {
			for _, path := range paths {
				start := time.Now()
				res, err := http.Get(admin + path)
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.Copy(io.Discard, res.Body)
				took := time.Since(start)
				if _ = res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
					t.Fatalf("%s: %d, %v", path, res.StatusCode, err)
				}
				if len(worst[path]) <= i {
					worst[path] = append(worst[path], 0)
				}
				worst[path][i] = max(worst[path][i], took)
			}
		}
	}
	var out strings.Builder
	tw := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(tw, "\nThe longest of 20 times with %d limiter keys, %d sessions\n\npage\tRedis answers\thangs\tis away\ttarget\t\n", benchKeys, benchSessions) // Flush tells
	for _, path := range paths {
		verdict := "met"
		for _, took := range worst[path] {
			if took > benchPageTarget {
				verdict = "MISSED"
			}
		}
		w := worst[path]
		_, _ = fmt.Fprintf(tw, "%s\t%v\t%v\t%v\t%v\t%s\n", path, w[0].Round(time.Millisecond/10), w[1].Round(time.Millisecond/10), w[2].Round(time.Millisecond/10), benchPageTarget, verdict) // as above
		if verdict != "met" && *benchStrict {
			t.Errorf("%s takes longer than %v", path, benchPageTarget)
		}
	}
	_ = tw.Flush() // into memory
	_, _ = io.WriteString(os.Stdout, out.String()+"\n")
}
