package drill

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/test/faultproxy"
)

var start = time.Unix(1_700_000_000, 0)

// requests are n samples, one every 10 ms from a time on, that took so long.
func requests(n int, from time.Duration, took time.Duration) []sample {
	var all []sample
	for i := range n {
		all = append(all, sample{at: start.Add(from + time.Duration(i)*10*time.Millisecond), latency: took, hit: true, cached: true, own: true})
	}
	return all
}

func with(all []sample, i int, change func(*sample)) []sample {
	change(&all[i])
	return all
}

// A scenario lasts from the second to the third second; before it all was well
// and hits took 2 ms.
func TestVerdicts(t *testing.T) {
	const second = time.Second
	healthy := requests(100, second, 2*time.Millisecond)
	fine := func() []sample { return requests(100, 2*second, 3*time.Millisecond) }
	for _, tc := range []struct {
		sentence string
		broken   []sample
		scenario Scenario
		change   func(*Row)
		problem  string
	}{
		{"nothing a client notices", fine(), Scenario{Steady: true}, nil, ""},
		{"one failed request", with(fine(), 50, func(s *sample) { s.failed = "GET /x: 502" }), Scenario{Steady: true}, nil, "1 requests failed, the first: GET /x: 502"},
		{"the first budget may be waited for", append(requests(10, 2*second, 50*time.Millisecond), requests(90, 2100*time.Millisecond, 3*time.Millisecond)...), Scenario{Steady: true}, nil, ""},
		{"each request waits for the budget", requests(100, 2*second, 52*time.Millisecond), Scenario{Steady: true}, nil, "p50 rose by 50ms, allowed 10ms"},
		{"a few requests wait for it", append(requests(90, 2*second, 3*time.Millisecond), requests(10, 2900*time.Millisecond, 52*time.Millisecond)...), Scenario{Steady: true}, nil, "p99 rose by 50ms, allowed 10ms"},
		{"which it may where Redis answers now and then", requests(100, 2*second, 52*time.Millisecond), Scenario{}, nil, ""},
		{"but no longer than the budget", requests(100, 2*second, 80*time.Millisecond), Scenario{}, nil, "p50 rose by 78ms, allowed 60ms"},
		{"hits become misses", func() []sample {
			all := fine()
			for i := range 30 {
				all[i].hit = false
			}
			return all
		}(), Scenario{Steady: true}, nil, "the hit ratio fell from 1.00 to 0.70"},
		{"given up again and again", fine(), Scenario{Steady: true}, func(r *Row) { r.Trips = 3 }, "given up 3 times"},
		{"which a fault that comes and goes may bring about", fine(), Scenario{}, func(r *Row) { r.Trips = 3 }, ""},
		{"a probe that is misled", fine(), Scenario{Steady: true}, func(r *Row) { r.misled = 1 }, "thought to be whole 1 times"},
		{"and one that is right", fine(), Scenario{}, func(r *Row) { r.misled = 1 }, ""},
		{"never used again", fine(), Scenario{Steady: true}, func(r *Row) { r.returned = false }, "not used again"},
		{"late answers that nobody drops", fine(), Scenario{Late: true}, nil, "no late answer was dropped"},
		{"a loss that nobody noticed", fine(), Scenario{Loss: true}, nil, "that Redis had lost data was not noticed"},
		{"a loss that was", fine(), Scenario{Loss: true}, func(r *Row) { r.losses = 1 }, ""},
		{"gateways that return together", fine(), Scenario{}, func(r *Row) { r.Apart = together }, ""},
		{"gateways that return apart", fine(), Scenario{}, func(r *Row) { r.Apart = together + time.Millisecond }, "used Redis 501ms after the first, allowed 500ms"},
		{"given up for what must not happen", fine(), Scenario{NeverFor: "OOM"}, func(r *Row) { r.givenUp(failover.Change{Reason: errors.New("take: OOM command not allowed")}) }, "given up for what must not happen: take: OOM"},
		{"and for another reason", fine(), Scenario{NeverFor: "OOM"}, func(r *Row) { r.givenUp(failover.Change{Reason: errors.New("i/o timeout")}) }, ""},
		{"what the check has seen", fine(), Scenario{}, func(r *Row) { r.seen = errors.New("a session was lost") }, "a session was lost"},
		{"one that missed the outage", fine(), Scenario{}, func(r *Row) { r.unhurt = true }, "not every gateway gave Redis up"},
		{"a request that another gateway failed", fine(), Scenario{}, func(r *Row) { r.add(Figures{Failed: []string{"GET /y: 502"}}) }, "1 requests failed, the first: GET /y: 502"},
		{"late answers that are dropped", fine(), Scenario{Late: true}, func(r *Row) { r.late = 1 }, ""},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			r := Row{Scenario: tc.scenario, during: span{start.Add(2 * second), start.Add(3 * second)}, returned: true}
			cfg := Config{Budget: 50 * time.Millisecond}
			r.measure(slices.Concat(healthy, tc.broken), []span{{start.Add(second), start.Add(2 * second)}}, cfg)
			if tc.change != nil {
				tc.change(&r)
			}
			r.judge(cfg)
			got := strings.Join(r.Problems, "; ")
			if !strings.Contains(got, tc.problem) || (got == "") != (tc.problem == "") {
				t.Errorf("problems %q, want %q", got, tc.problem)
			}
			if Passed([]Row{r}) != (tc.problem == "") {
				t.Errorf("passed: %v", Passed([]Row{r}))
			}
			if r.Broken.Requests != 100 || r.Healthy.Requests != 100 {
				t.Errorf("%d and %d requests counted, want 100 each", r.Healthy.Requests, r.Broken.Requests)
			}
		})
	}
	skipped := Row{Scenario: Scenario{Skip: "why"}}
	if Passed(nil) || Passed([]Row{skipped}) {
		t.Error("a drill that played nothing passes")
	}
	if !Passed([]Row{skipped, {}}) {
		t.Error("a row that was skipped fails the drill")
	}
}

func TestSamples(t *testing.T) {
	result := func(code uint16, cacheStatus string) *vegeta.Result {
		r := &vegeta.Result{Code: code, Headers: http.Header{}}
		if cacheStatus != "" {
			r.Headers.Set("Cache-Status", cacheStatus)
		}
		return r
	}
	for _, tc := range []struct {
		sentence string
		result   *vegeta.Result
		want     sample
		failed   bool
	}{
		{"a hit is the gateway's own", result(200, "edge; hit; ttl=3"), sample{hit: true, cached: true, own: true}, false},
		{"a miss is the backend's", result(200, "edge; fwd=uri-miss"), sample{cached: true}, false},
		{"a refusal is the gateway's own, and no failure", result(429, ""), sample{own: true}, false},
		{"an error of the backend's kind is a failure", result(503, ""), sample{}, true},
		{"so is no answer", result(0, ""), sample{}, true},
		{"a client's own mistake is not", result(404, ""), sample{}, false},
	} {
		got := newSample(tc.result)
		failed := got.failed != ""
		got.failed, got.at = "", time.Time{}
		if got != tc.want || failed != tc.failed {
			t.Errorf("%s: %+v, failed %v", tc.sentence, got, failed)
		}
	}
}

func TestQuantile(t *testing.T) {
	var sorted []time.Duration
	for i := range 100 {
		sorted = append(sorted, time.Duration(i+1))
	}
	for q, want := range map[float64]time.Duration{0.5: 50, 0.99: 99, 1: 100, 0: 1} {
		if got := quantile(sorted, q); got != want {
			t.Errorf("quantile %v: %d, want %d", q, got, want)
		}
	}
	if quantile(nil, 0.99) != 0 {
		t.Error("of nothing")
	}
}

// Gateways return as far apart as the first and the last of them.
func TestApart(t *testing.T) {
	gateway := func(changes ...failover.Change) other {
		return other{Gateway: Gateway{Status: func() failover.Status { return failover.Status{History: changes} }}}
	}
	to := func(state failover.State, after time.Duration) failover.Change {
		return failover.Change{To: state, At: start.Add(after)}
	}
	const ms = time.Millisecond
	before, down := to(failover.Up, -time.Second), to(failover.Down, -500*ms)
	for _, tc := range []struct {
		sentence string
		first    time.Duration
		others   []other
		apart    time.Duration
		unhurt   bool
	}{
		{"one alone", 700 * ms, nil, 0, false},
		{"the others come later", 700 * ms, []other{gateway(before, down, to(failover.Up, 800*ms)), gateway(before, down, to(failover.Up, 900*ms))}, 200 * ms, false},
		{"one came before", 700 * ms, []other{gateway(before, down, to(failover.Up, 100*ms))}, 600 * ms, false},
		{
			"what comes after its first return is another matter", 700 * ms,
			[]other{gateway(down, to(failover.Up, 710*ms), to(failover.Down, time.Minute), to(failover.Up, 2*time.Minute))},
			10 * ms, false,
		},
		{"one never left", 700 * ms, []other{gateway(before)}, 0, true},
		{"the first never left", 0, []other{gateway(before, down, to(failover.Up, 100*ms))}, 0, true},
	} {
		r := Row{Return: tc.first}
		r.compareReturns(start, tc.others)
		if r.Apart != tc.apart || r.unhurt != tc.unhurt {
			t.Errorf("%s: %v apart, unhurt %v", tc.sentence, r.Apart, r.unhurt)
		}
	}
}

func TestScenarios(t *testing.T) {
	does := func() error { return nil }
	played := Scenario{Start: does, End: does}
	all := Scenarios(nil, &Own{Empty: does, Kill: does, Restart: does, Evicted: played, Full: played})
	names := map[string]bool{}
	for _, s := range all {
		if names[s.Name] || s.Description == "" || s.Start == nil || s.End == nil || s.Skip != "" {
			t.Errorf("scenario %+v", s)
		}
		names[s.Name] = true
	}
	for _, n := range faultproxy.Faults() {
		if !names[n.Name] {
			t.Errorf("the fault %s is not played", n.Name)
		}
	}
	var skipped []string
	for _, s := range Scenarios(nil, nil) {
		if s.Skip != "" {
			skipped = append(skipped, s.Name)
		}
	}
	if !slices.Equal(skipped, []string{"emptied", "restarted-empty", "restored-old", "several", "table-evicted", "full"}) {
		t.Errorf("where Redis is somebody else's, %v are skipped", skipped)
	}
	chosen, unknown := Choose(all, []string{"readonly", "cut"})
	if unknown != "" || len(chosen) != 2 || chosen[0].Name != "readonly" || chosen[1].Name != "cut" {
		t.Errorf("chosen %v, unknown %q", chosen, unknown)
	}
	if _, unknown := Choose(all, []string{"cut", "earthquake"}); unknown != "earthquake" {
		t.Errorf("unknown %q", unknown)
	}
	steady := map[string]bool{}
	for _, s := range all {
		steady[s.Name] = s.Steady
	}
	for name, want := range map[string]bool{"cut": true, "half-open": true, "readonly": true, "too-slow": true, "slow": false, "flap": false, "reset": false, "drop-every": false, "late": false, "noscript": false} {
		if steady[name] != want {
			t.Errorf("%s is steady: %v", name, steady[name])
		}
	}
}

// Equal seeds make equal traffic, and the mix has its weights.
func TestMix(t *testing.T) {
	draw := func(seed uint64) (all []string) {
		m := NewMix("http://gateway", "c=1", seed)
		for range 2000 {
			var target vegeta.Target
			if err := m.Target(&target); err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprint(target.Method, " ", target.URL, " ", target.Header))
		}
		return all
	}
	first := draw(1)
	if !slices.Equal(first, draw(1)) || slices.Equal(first, draw(2)) {
		t.Error("the seed does not decide the traffic")
	}
	share := func(part string) (n int) {
		for _, r := range first {
			if strings.Contains(r, part) {
				n++
			}
		}
		return n * 100 / len(first)
	}
	for part, want := range map[string]int{"page=1": 20, "latitude=": 12, "/view": 7, "kosher_category": 8, "/auth/profile": 5} {
		if got := share(part); got < want-3 || got > want+3 {
			t.Errorf("%s: %d of 100, want %d", part, got, want)
		}
	}
}
