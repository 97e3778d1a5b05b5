package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

// named returns backends that answer with their number.
func named(t *testing.T, n int) (targets []string) {
	for i := range n {
		targets = append(targets, backend(t, answer("%d", i)))
	}
	return targets
}

func dead(t *testing.T) string {
	return rawBackend(t, func(net.Conn, *bufio.Reader) {}) // takes a request and closes
}

func odd(t *testing.T) string {
	return rawBackend(t, func(conn net.Conn, _ *bufio.Reader) {
		_, _ = io.WriteString(conn, "HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nab")
	})
}

func TestRetries(t *testing.T) {
	tests := []struct {
		name     string
		method   string
		body     string
		broken   func(*testing.T) string
		attempts int
		status   int
		retries  int
	}{
		{"a GET that is refused goes to the other target", "GET", "", nowhere, 2, 200, 1},
		{"a GET without an answer too", "GET", "", dead, 2, 200, 1},
		{"so do HEAD, OPTIONS, PUT and DELETE without a body", "DELETE", "", dead, 1, 200, 1},
		{"a POST is never sent again", "POST", "", dead, 2, 502, 0},
		{"not even to a target that was not there", "POST", "", nowhere, 2, 502, 0},
		{"nor is a PUT with a body", "PUT", "body", dead, 2, 502, 0},
		{"nor an unknown method", "PURGE", "", dead, 2, 502, 0},
		{"without attempts nothing is", "GET", "", dead, 0, 502, 0},
		{"a GET with an answer that is none goes to the other", "GET", "", odd, 2, 200, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var served atomic.Int32
			good := backend(t, func(http.ResponseWriter, *http.Request) { served.Add(1) })
			e := newEdge(t, setup{app: policy.Upstream{
				Targets: []string{tt.broken(t), good}, Balance: "round_robin", Retries: policy.Retries{Attempts: tt.attempts},
			}})
			resp, _ := e.do(t, request(t, tt.method, e.URL, strings.NewReader(tt.body)))
			facts := e.done(t)
			if resp.StatusCode != tt.status || facts.Retries != tt.retries {
				t.Errorf("status %d after %d retries, want %d after %d", resp.StatusCode, facts.Retries, tt.status, tt.retries)
			}
			if want := int32(tt.retries); served.Load() != want {
				t.Errorf("the good target served %d, want %d", served.Load(), want)
			}
			if tt.status == 200 && facts.Target != hostOf(t, good) {
				t.Errorf("target %s, want the one that answered", facts.Target)
			}
			for _, target := range e.pools.find("app").targets {
				if n := target.inFlight.Load(); n != 0 {
					t.Errorf("%s has %d requests in flight after the last", target.url, n)
				}
			}
		})
	}
}

func TestSlowUpstreamIsNotAskedAgain(t *testing.T) {
	var asked atomic.Int32
	slow := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-r.Context().Done()
	})
	e := newEdge(t, setup{app: policy.Upstream{
		Targets: []string{slow, slow}, Timeout: policy.Duration(50 * time.Millisecond), Retries: policy.Retries{Attempts: 3},
	}})
	if resp, _ := e.get(t); resp.StatusCode != http.StatusGatewayTimeout || asked.Load() != 1 {
		t.Errorf("status %d, asked %d times; want 504 and once", resp.StatusCode, asked.Load())
	}
}

func TestRetriesKeepToTheirBudget(t *testing.T) {
	const requests, share = 1000, 0.2
	b := retryBudget{share: share}
	now, granted := time.Unix(1_000_000, 0), 0
	for range requests { // all fail at one instant
		b.request(now)
		if b.take(now) {
			granted++
		}
	}
	if want := requests*share + 3; granted > int(want) || granted < int(want)-2 {
		t.Errorf("%d retries granted at once, want about %v", granted, want)
	}
	now = now.Add(time.Second)
	granted = 0
	for range 10 {
		if b.take(now) {
			granted++
		}
	}
	if granted != 3 {
		t.Error("want three retries a second beside the share, and no more")
	}
	now = now.Add(time.Minute) // requests of long ago grant nothing
	granted = 0
	for range 100 {
		if b.take(now) {
			granted++
		}
	}
	if granted != 3 {
		t.Errorf("%d retries granted to a quiet upstream, want 3", granted)
	}
}

func TestBudgetBoundsRealRetries(t *testing.T) {
	e := newEdge(t, setup{
		app: policy.Upstream{Targets: []string{nowhere(t)}, Retries: policy.Retries{Attempts: 1}},
		now: func() time.Time { return time.Unix(1_000_000, 0) },
	})
	retries := 0
	for range 30 {
		e.get(t)
		retries += e.done(t).Retries
	}
	if retries != 3 {
		t.Errorf("%d retries within one instant, want the floor of 3", retries)
	}
}

func poolOf(t *testing.T, def policy.Upstream) *pool {
	t.Helper()
	p, err := newPool(PoolsConfig{Now: time.Now}, "app", def, []bounds{{}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var threeTargets = []string{"http://a:1", "http://b:1", "http://c:1"}

func TestRoundRobinTakesTurns(t *testing.T) {
	p := poolOf(t, policy.Upstream{Targets: threeTargets, Balance: "round_robin"})
	for i := range 9 {
		if got := p.pick(netip.Addr{}, nil); got != p.targets[i%3] {
			t.Errorf("choice %d is %s", i, got.url)
		}
	}
}

func TestP2CPrefersTheLessBusy(t *testing.T) {
	p := poolOf(t, policy.Upstream{Targets: threeTargets, Balance: "p2c"})
	p.targets[0].inFlight.Store(10)
	chosen := map[*target]int{}
	for range 300 {
		chosen[p.pick(netip.Addr{}, nil)]++
	}
	if chosen[p.targets[0]] > 0 {
		t.Errorf("the busiest was chosen %d times: two are always compared", chosen[p.targets[0]])
	}
	if chosen[p.targets[1]] == 0 || chosen[p.targets[2]] == 0 {
		t.Error("the others do not share the requests")
	}
}

func TestHashKeepsClientsWhereTheyAre(t *testing.T) {
	p := poolOf(t, policy.Upstream{Targets: threeTargets, Balance: "hash"})
	again := poolOf(t, policy.Upstream{Targets: threeTargets, Balance: "hash"})
	chosen, before := map[*target]int{}, map[netip.Addr]*target{}
	for i := range 3000 {
		client := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		before[client] = p.pick(client, nil)
		chosen[before[client]]++
		if got := again.pick(client, nil); got.url.Host != before[client].url.Host {
			t.Fatalf("another gateway sends %s to %s", client, got.url.Host)
		}
	}
	for _, target := range p.targets {
		if n := chosen[target]; n < 800 || n > 1200 {
			t.Errorf("%s has %d of 3000 clients", target.url.Host, n)
		}
	}
	p.targets[0].out.Store(true)
	for client, was := range before {
		if got := p.pick(client, nil); was != p.targets[0] && got != was {
			t.Fatalf("%s moved from %s to %s, though its target is there", client, was.url.Host, got.url.Host)
		}
	}
}

func TestPickLeavesOut(t *testing.T) {
	tests := []struct {
		name       string
		out, tried []int
		want       []int
	}{
		{"nothing at first", nil, nil, []int{0, 1, 2}},
		{"what is out", []int{0}, nil, []int{1, 2}},
		{"what was tried", nil, []int{1}, []int{0, 2}},
		{"both", []int{0}, []int{1}, []int{2}},
		{"nothing if all are out", []int{0, 1, 2}, nil, []int{0, 1, 2}},
		{"the tried ones if all are out", []int{0, 1, 2}, []int{0}, []int{1, 2}},
		{"what is out, though all others were tried", []int{0}, []int{1, 2}, []int{1, 2}},
	}
	for _, balance := range []string{"p2c", "round_robin"} {
		for _, tt := range tests {
			t.Run(balance+" leaves out "+tt.name, func(t *testing.T) {
				p := poolOf(t, policy.Upstream{Targets: threeTargets, Balance: balance})
				for _, i := range tt.out {
					p.targets[i].out.Store(true)
				}
				var tried []*target
				for _, i := range tt.tried {
					tried = append(tried, p.targets[i])
				}
				seen := map[*target]bool{}
				for range 200 {
					seen[p.pick(netip.Addr{}, tried)] = true
				}
				for _, i := range tt.want {
					if !seen[p.targets[i]] {
						t.Errorf("target %d is never chosen", i)
					}
				}
				if len(seen) != len(tt.want) {
					t.Errorf("%d targets are chosen, want %d", len(seen), len(tt.want))
				}
			})
		}
	}
}

func TestHealth(t *testing.T) {
	var sick atomic.Bool
	var agent atomic.Value
	first := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			agent.Store(r.UserAgent())
			if sick.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		fmt.Fprint(w, "first")
	})
	second := backend(t, answer("second"))
	e := newEdge(t, setup{app: policy.Upstream{
		Targets: []string{first, second}, Balance: "round_robin",
		Health: policy.Health{Path: "/healthz", Interval: policy.Duration(5 * time.Millisecond), Timeout: policy.Duration(patience), UnhealthyAfter: 3},
	}})
	healthy := func() bool { return e.pools.Status()[0].Healthy }
	served := func() map[string]bool {
		by := map[string]bool{}
		for range 4 {
			_, body := e.get(t)
			by[body] = true
		}
		return by
	}
	env.Until(t, "a first check", func() bool { return e.pools.Status()[0].Checked })
	if got := served(); len(got) != 2 {
		t.Errorf("served by %v, want both", got)
	}
	sick.Store(true)
	env.Until(t, "the sick target out", func() bool { return !healthy() })
	if got := served(); got["first"] {
		t.Errorf("served by %v, want not the sick one", got)
	}
	if s := e.pools.Status()[0]; s.Reason != "status 503" || s.Target != hostOf(t, first) || s.Upstream != "app" || s.Since.IsZero() {
		t.Errorf("status %+v", s)
	}
	sick.Store(false)
	env.Until(t, "the target back", healthy)
	if got := served(); len(got) != 2 {
		t.Errorf("served by %v, want both again", got)
	}
	if got := agent.Load(); got != "gateway-health" {
		t.Errorf("checks came from %q", got)
	}
}

func TestLastTargetIsNeverEjected(t *testing.T) {
	e := newEdge(t, setup{app: policy.Upstream{
		Targets: []string{backend(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/healthz" {
				w.WriteHeader(http.StatusInternalServerError)
			}
		})},
		Health: policy.Health{Path: "/healthz", Interval: policy.Duration(5 * time.Millisecond), UnhealthyAfter: 1},
	}})
	env.Until(t, "the target failing its checks", func() bool { return !e.pools.Status()[0].Healthy })
	if resp, _ := e.get(t); resp.StatusCode != http.StatusOK {
		t.Errorf("status %d, want the target asked all the same", resp.StatusCode)
	}
}

func TestFailuresInARowTakeATargetOut(t *testing.T) {
	p := poolOf(t, policy.Upstream{Targets: threeTargets, Health: policy.Health{UnhealthyAfter: 3}})
	p.cfg.Log = NewPools(PoolsConfig{}).cfg.Log
	failed := context.DeadlineExceeded
	for i, step := range []struct {
		err error
		out bool
	}{{failed, false}, {failed, false}, {nil, false}, {failed, false}, {failed, false}, {failed, true}, {failed, true}, {nil, false}, {failed, false}} {
		p.note(t.Context(), p.targets[0], step.err)
		if got := p.targets[0].out.Load(); got != step.out {
			t.Fatalf("after check %d (%v) out is %v, want %v", i, step.err, got, step.out)
		}
	}
}

func snapshotWith(upstreams map[string]policy.Upstream) *policy.Snapshot {
	return &policy.Snapshot{Policy: &policy.Policy{Upstreams: upstreams}}
}

// ask sends a GET through the pools alone.
func ask(t *testing.T, p *Pools, upstream string) (*http.Response, error) {
	t.Helper()
	ex := &exchange.Exchange{Route: &policy.Route{Upstream: upstream}}
	req := request(t, http.MethodGet, "/", nil)
	return p.RoundTrip(req.WithContext(exchange.With(t.Context(), ex)))
}

func TestReload(t *testing.T) {
	var connections atomic.Int32
	s := httptest.NewUnstartedServer(answer("kept"))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	kept, changed := one(s.URL), one(named(t, 1)[0])
	p := NewPools(PoolsConfig{})
	t.Cleanup(p.Close)
	get := func(upstream string) error {
		resp, err := ask(t, p, upstream)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.Body.Close()
	}

	apply(t, p, snapshotWith(map[string]policy.Upstream{"kept": kept, "changed": changed, "removed": kept}))
	for _, upstream := range []string{"kept", "changed", "removed"} {
		if err := get(upstream); err != nil {
			t.Fatal(err)
		}
	}
	before := *p.current.Load()
	changed.Timeout = policy.Duration(time.Minute)
	next := snapshotWith(map[string]policy.Upstream{"kept": kept, "changed": changed, "added": kept})
	commit, err := p.Prepare(next)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.current.Load(); got.pools["added"] != nil {
		t.Error("a pool is in force before commit")
	}
	commit()
	after := *p.current.Load()
	if after.pools["kept"] != before.pools["kept"] {
		t.Error("an unchanged pool was made anew")
	}
	if after.pools["changed"] == before.pools["changed"] {
		t.Error("a changed definition is not in force")
	}
	opened := connections.Load()
	if err := get("kept"); err != nil || connections.Load() != opened {
		t.Errorf("%v, %d new connections; want the old one used", err, connections.Load()-opened)
	}
	if err := get("added"); err != nil {
		t.Errorf("an added upstream: %v", err)
	}
	if err := get("removed"); err != nil {
		t.Errorf("a request routed by the old policy: %v", err)
	}
	if before.pools["removed"].retired.Load() != true || before.pools["changed"].retired.Load() != true {
		t.Error("pools that are gone are not retired")
	}
	if got := len(p.Status()); got != 3 {
		t.Errorf("%d targets in the status, want those in force", got)
	}

	if _, err := p.Prepare(snapshotWith(map[string]policy.Upstream{
		"kept": kept, "a": one("ftp://a"), "b": one("http://b/path"), "c": {},
	})); err == nil || !strings.Contains(err.Error(), `"a"`) || !strings.Contains(err.Error(), `"b"`) || !strings.Contains(err.Error(), `"c"`) {
		t.Errorf("error %v, want one that names every bad upstream", err)
	}
	if err := get("kept"); err != nil {
		t.Errorf("after a refused policy: %v", err)
	}
}

func TestRetiredPoolFinishesWhatItHas(t *testing.T) {
	more := make(chan struct{})
	app := one(backend(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-more
		fmt.Fprint(w, "later")
	}))
	app.Health = policy.Health{Path: "/", Interval: policy.Duration(time.Hour), Timeout: policy.Duration(10 * time.Millisecond)}
	p := NewPools(PoolsConfig{})
	t.Cleanup(p.Close)
	apply(t, p, snapshotOf(app))
	resp, err := ask(t, p, "app")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	apply(t, p, snapshotWith(nil))
	close(more)
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "firstlater" {
		t.Errorf("read %q, %v; want the whole body", got, err)
	}
}

func TestCommitAfterCloseStartsNothing(t *testing.T) {
	app := one(nowhere(t))
	app.Health = policy.Health{Path: "/", Interval: policy.Duration(time.Millisecond), UnhealthyAfter: 1}
	p := NewPools(PoolsConfig{})
	commit, err := p.Prepare(snapshotOf(app))
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	commit() // a health check left running would be found by goleak
	if got := p.Status(); len(got) != 0 {
		t.Errorf("status %v", got)
	}
}

func TestHTTPSUpstream(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	t.Run("is asked by HTTP/2", func(t *testing.T) {
		e := newEdge(t, setup{app: one(s.URL), progress: patience})
		e.usual().TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		if _, body := e.get(t); body != "HTTP/2.0" {
			t.Errorf("upstream was asked by %s", body)
		}
	})
	t.Run("with an unknown certificate is a 502", func(t *testing.T) {
		e := newEdge(t, setup{app: one(s.URL)})
		if resp, _ := e.get(t); resp.StatusCode != http.StatusBadGateway {
			t.Errorf("status %d, want 502", resp.StatusCode)
		}
	})
}
