package main

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/jewgo/gateway/test/drill"
	"github.com/jewgo/gateway/test/env"
)

// tally is what came back in one phase.
type tally struct {
	total, hits, limited, profiles int
	bad                            map[string]int // what no client should see
}

func (y *tally) add(r *vegeta.Result) {
	if y.bad == nil {
		y.bad = map[string]int{}
	}
	y.total++
	if strings.HasPrefix(r.Headers.Get("Cache-Status"), "edge; hit") {
		y.hits++
	}
	switch {
	case r.Code == http.StatusTooManyRequests:
		y.limited++
	case r.Code == 0 || r.Code >= 500:
		y.bad[fmt.Sprint(r.Method, " ", r.URL, ": ", r.Code, " ", r.Error)]++
	case strings.HasSuffix(r.URL, "/auth/profile") && r.Code == http.StatusOK:
		y.profiles++
	}
}

// Redis is killed under load, and comes back empty: nothing that a user sees
// breaks, before, during or after.
func TestEndToEndRedisLostUnderLoad(t *testing.T) { // alone: a load beside other tests says nothing
	server := env.Redis(t)
	g := startJewGo(t, server.URL)
	const seed = 20250910
	t.Logf("seed %d", seed)
	m := drill.NewMix([]string{g.base}, g.login("198.51.100.40"), seed)
	const phase = 4 * time.Second
	begin := time.Now()
	phases := []struct {
		name string
		at   time.Duration // its end
		then func()
		tally
	}{
		{name: "redis there", at: phase, then: server.Kill},
		{name: "redis gone", at: 2 * phase, then: func() { server.Restart(true) }},
		{name: "redis back, empty", at: 3 * phase, then: func() {}},
	}
	greedy := make(chan map[uint16]int, 1)
	go func() { greedy <- flood(g.base, 3*phase) }()
	attacker := vegeta.NewAttacker(vegeta.Timeout(10*time.Second), vegeta.MaxWorkers(100))
	now := 0
	for r := range attacker.Attack(m.Target, vegeta.Rate{Freq: 100, Per: time.Second}, 3*phase, "mix") {
		if now < 2 && time.Since(begin) > phases[now].at {
			phases[now].then()
			now++
		}
		phases[now].add(r)
	}
	for _, p := range phases {
		t.Logf("%-18s %4d requests, %4d hits, %3d refused, %2d profiles", p.name, p.total, p.hits, p.limited, p.profiles)
		if p.total < 100 || len(p.bad) > 0 {
			t.Errorf("%s: %d requests, failures %v", p.name, p.total, p.bad)
		}
		if p.hits < p.total/5 {
			t.Errorf("%s: %d hits of %d requests", p.name, p.hits, p.total)
		}
		if p.profiles == 0 {
			t.Errorf("%s: the user who is logged in was not served", p.name)
		}
	}
	// The limit is 120 a minute after a burst of 200, whatever becomes of Redis.
	statuses := <-greedy
	took := time.Since(begin).Seconds()
	t.Logf("one greedy client in %.0f s: %v", took, statuses)
	if ok := statuses[200]; ok < 200 || float64(ok) > 201+2*took || statuses[429] == 0 || len(statuses) != 2 {
		t.Errorf("one greedy client: statuses %v, want 200 to %.0f times 200 and else 429", statuses, 201+2*took)
	}
	g.readyz(t, "ok")
}

// flood sends 50 requests a second as one client and counts the statuses.
func flood(base string, length time.Duration) map[uint16]int {
	target := vegeta.NewStaticTargeter(vegeta.Target{
		Method: http.MethodGet, URL: base + "/api/v5/mikvahs", Header: http.Header{"X-Forwarded-For": {"203.0.113.99"}},
	})
	statuses := map[uint16]int{}
	for r := range vegeta.NewAttacker(vegeta.MaxWorkers(20)).Attack(target, vegeta.Rate{Freq: 50, Per: time.Second}, length, "flood") {
		statuses[r.Code]++
	}
	return statuses
}

// readyz waits for the state.
func (g *gatewayProcess) readyz(t *testing.T, want string) {
	t.Helper()
	env.Eventually(t, 10*time.Second, func() error {
		a := g.get(g.admin + "/readyz?verbose")
		if a.StatusCode != http.StatusOK || !strings.HasPrefix(a.body, want+"\n") {
			return fmt.Errorf("readyz: %s\n%s", a.Status, a.body)
		}
		return nil
	})
}

func TestEndToEndNoRedisAtStart(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	server.Kill()
	g := startJewGo(t, server.URL)
	g.readyz(t, "degraded")
	g.get(listOf50)
	wantCache(t, g.get(listOf50), "hit")
	time.Sleep(1500 * time.Millisecond) // several probes
	if n := strings.Count(g.stderr.String(), "redis is unavailable"); n != 1 {
		t.Errorf("it says %d times that redis is unavailable:\n%s", n, g.stderr.String())
	}
	server.Restart(true)
	g.readyz(t, "ok")
	g.stderr.await(t, "redis is in use")
	page := 0
	env.Eventually(t, env.Patience, func() error {
		page++ // on a busy machine the first may not have been written in time
		g.get(fmt.Sprint("/api/v5/stores?page=", page), "X-Forwarded-For", "198.51.100.50")
		keys, err := exec.Command("redis-cli", "-u", server.URL, "--raw", "keys", "*").CombinedOutput()
		if err != nil || !strings.Contains(string(keys), "rate:") || !strings.Contains(string(keys), "gw:{c:") {
			return fmt.Errorf("limits and cache are not in Redis: %w\n%s", err, keys)
		}
		return nil
	})
}
