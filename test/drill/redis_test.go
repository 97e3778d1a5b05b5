package drill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/faultproxy"
)

var start = time.Unix(1_700_000_000, 0)

// samplesOf returns n samples, one every 10 ms beginning at from, with the latency took.
func samplesOf(n int, from time.Duration, took time.Duration) []sample {
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

// The fault lasts from second 2 to second 3. In the second before, all was well and hits took 2 ms.
func TestVerdicts(t *testing.T) {
	const second = time.Second
	healthy := samplesOf(100, second, 2*time.Millisecond)
	fine := func() []sample { return samplesOf(100, 2*second, 3*time.Millisecond) }
	steady := Fault{Steady: true}
	for _, tc := range []struct {
		sentence string
		broken   []sample
		fault    Fault
		change   func(*outage)
		seen     error
		problem  string
	}{
		{"nothing a client notices", fine(), steady, nil, nil, ""},
		{"one failed request", with(fine(), 50, func(s *sample) { s.failed = "GET /x: 502" }), steady, nil, nil, "1 requests failed, the first: GET /x: 502"},
		{"the first budget may be waited for", append(samplesOf(10, 2*second, 50*time.Millisecond), samplesOf(90, 2100*time.Millisecond, 3*time.Millisecond)...), steady, nil, nil, ""},
		{"each request waits for the budget", samplesOf(100, 2*second, 52*time.Millisecond), steady, nil, nil, "p50 rose by 50.0ms, allowed 10.0ms"},
		{"a few requests wait for it", append(samplesOf(90, 2*second, 3*time.Millisecond), samplesOf(10, 2900*time.Millisecond, 52*time.Millisecond)...), steady, nil, nil, "p99 rose by 50.0ms, allowed 10.0ms"},
		{"which it may where Redis answers now and then", samplesOf(100, 2*second, 52*time.Millisecond), Fault{}, nil, nil, ""},
		{"but no longer than the budget", samplesOf(100, 2*second, 80*time.Millisecond), Fault{}, nil, nil, "p50 rose by 78.0ms, allowed 60.0ms"},
		{"hits become misses", func() []sample {
			all := fine()
			for i := range 30 {
				all[i].hit = false
			}
			return all
		}(), steady, nil, nil, "the hit ratio fell from 1.00 to 0.70"},
		{"given up again and again", fine(), steady, func(o *outage) { o.again = 3 }, nil, "given up 3 times"},
		{"which a fault that comes and goes may bring about", fine(), Fault{}, func(o *outage) { o.again = 3 }, nil, ""},
		{"a probe that is misled", fine(), steady, func(o *outage) { o.misled = 1 }, nil, "taken for whole 1 times"},
		{"and one that is right", fine(), Fault{}, func(o *outage) { o.misled = 1 }, nil, ""},
		{"never used again", fine(), steady, func(o *outage) { o.tripped = 0 }, errNotBack, "not every gateway used Redis again within 15s"},
		{"late answers that nobody drops", fine(), Fault{Late: true}, func(o *outage) { o.late = 0 }, nil, "no late answer was dropped"},
		{"a loss that one did not notice", fine(), Fault{Loss: true}, func(o *outage) { o.losses = 2 }, nil, "noticed 2 times that Redis had lost data, want 3"},
		{"gateways that return together", fine(), steady, func(o *outage) { o.apart = together }, nil, ""},
		{"gateways that return apart", fine(), steady, func(o *outage) { o.apart = together + time.Millisecond }, nil, "used Redis 501ms after the first, allowed 500ms"},
		{"given up for a reason that must not occur", fine(), Fault{NeverFor: "OOM"}, func(o *outage) { o.reasons = []string{"take: OOM command not allowed"} }, nil, "given up for a reason that must not occur: take: OOM"},
		{"and for another reason", fine(), Fault{NeverFor: "OOM"}, func(o *outage) { o.reasons = []string{"i/o timeout"} }, nil, ""},
		{"what the check has seen", fine(), Fault{}, nil, errors.New("a session was lost"), "a session was lost"},
		{"one that missed the outage", fine(), steady, func(o *outage) { o.tripped = 2 }, nil, "not every gateway gave Redis up"},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			o := outage{from: start.Add(2 * second), whole: start.Add(3 * second), trips: 1, tripped: gateways, late: 1, losses: gateways}
			if tc.change != nil {
				tc.change(&o)
			}
			const budget = 50 * time.Millisecond
			var r Row
			r.measure(slices.Concat(healthy, tc.broken), []span{{start.Add(second), start.Add(2 * second)}}, o, budget)
			r.judge(tc.fault, o, budget, tc.seen)
			got := strings.Join(r.Problems, "; ")
			if !strings.Contains(got, tc.problem) || (got == "") != (tc.problem == "") {
				t.Errorf("problems %q, want %q", got, tc.problem)
			}
			if passed([]Row{r}) != (tc.problem == "") {
				t.Errorf("verdict %s", r.Verdict)
			}
			if r.Broken.Requests != 100 || r.Healthy.Requests != 100 {
				t.Errorf("%d and %d requests counted, want 100 each", r.Healthy.Requests, r.Broken.Requests)
			}
		})
	}
	skipped := Row{Verdict: "skipped"}
	if passed(nil) || passed([]Row{skipped}) {
		t.Error("a drill that played nothing passes")
	}
	if !passed([]Row{skipped, {Verdict: "pass"}}) {
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

// measure reads the gateways' histories; Redis was broken for one second.
func TestMeasure(t *testing.T) {
	whole := start.Add(time.Second)
	ms := func(n int) time.Time { return start.Add(time.Duration(n) * time.Millisecond) }
	history := func(changes ...change) status {
		return status{State: "up", History: append([]change{{At: start.Add(-time.Minute), From: "rejoining", To: "up"}}, changes...)}
	}
	back := func(down, rejoining, up int) status {
		return history(change{ms(down), "up", "down", "why"}, change{ms(rejoining), "down", "rejoining", ""}, change{ms(up), "rejoining", "up", ""})
	}
	for _, tc := range []struct {
		sentence                   string
		after                      []status
		forgets                    bool
		done                       bool
		tripped, trips, misled     int
		returned, apart, unsettled time.Duration
	}{
		{"one alone", []status{back(10, 1200, 1600)}, false, true, 1, 1, 0, 600, 0, 400},
		{"together", []status{back(10, 1200, 1600), back(20, 1250, 1605)}, false, true, 2, 1, 0, 605, 5, 405},
		{"one late", []status{back(10, 1200, 1600), back(20, 1700, 1800)}, false, true, 2, 1, 0, 800, 200, 600},
		{"one that saw nothing used Redis all the time", []status{back(10, 1200, 1600), history()}, false, true, 1, 1, 0, 600, 0, 600},
		{"nobody saw anything", []status{history(), history()}, false, true, 0, 0, 0, 0, 0, 0},
		{"one has not noticed a loss", []status{back(10, 1200, 1600), history()}, true, false, 1, 1, 0, 0, 0, 0},
		{"one that failed to rejoin meanwhile", []status{history(
			change{ms(10), "up", "down", "why"}, change{ms(500), "down", "rejoining", ""}, change{ms(600), "rejoining", "down", "why"},
			change{ms(1100), "down", "rejoining", ""}, change{ms(1200), "rejoining", "up", ""},
		)}, false, true, 1, 1, 1, 200, 0, 100},
		{"one that gave it up again after that", []status{history(
			change{ms(10), "up", "down", "why"}, change{ms(1100), "down", "rejoining", ""}, change{ms(1200), "rejoining", "up", ""},
			change{ms(1300), "up", "down", "why"}, change{ms(1400), "down", "rejoining", ""}, change{ms(1500), "rejoining", "up", ""},
		)}, false, true, 1, 2, 0, 500, 0, 400},
	} {
		fault := Fault{End: func() {}}
		if tc.forgets {
			fault.End = nil
		}
		o := outage{from: start, whole: whole}
		done := o.measure(fault, make([]status, len(tc.after)), tc.after)
		if done != tc.done || o.tripped != tc.tripped || o.trips != tc.trips || o.misled != tc.misled {
			t.Errorf("%s: %v, %+v", tc.sentence, done, o)
		}
		settle := settleTime
		if tc.tripped == 0 {
			settle = 0
		}
		const ms = time.Millisecond
		if done && (o.returned != tc.returned*ms || o.apart != tc.apart*ms || o.unsettled != tc.unsettled*ms+settle) {
			t.Errorf("%s: %+v", tc.sentence, o)
		}
	}
}

func TestFaults(t *testing.T) {
	all := RedisFaults()
	names := map[string]bool{}
	for _, f := range all {
		if names[f.Name] || f.Description == "" || f.Start == nil || f.Skip != "" {
			t.Errorf("fault %+v", f)
		}
		names[f.Name] = true
	}
	for _, n := range faultproxy.Faults() {
		if !names[n.Name] {
			t.Errorf("the fault %s is not played", n.Name)
		}
	}
	chosen, err := choose(all, []string{"readonly", "cut"})
	if err != nil || len(chosen) != 2 || chosen[0].Name != "readonly" || chosen[1].Name != "cut" {
		t.Errorf("chosen %v, %v", chosen, err)
	}
}

// Equal seeds make equal traffic, and the mix has its weights.
func TestMix(t *testing.T) {
	draw := func(seed uint64) (all []string) {
		m := NewMix([]string{"http://gateway"}, "c=1", seed)
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

// Readers of the JSON rely on every name in it.
func TestReport(t *testing.T) {
	three := []Row{
		{
			Fault: "cut", Description: "the server is dead", Verdict: "pass", Problems: []string{},
			Broken: Figures{Requests: 600, HitRatio: 0.5, P50: 0.3, P99: 2.5}, Healthy: Figures{Requests: 500, HitRatio: 0.25, P50: 1, P99: 2},
			Trips: 1, Trip: met(1800 * time.Microsecond), Return: met(575800 * time.Microsecond), Apart: met(20 * time.Millisecond),
		},
		{
			Fault: "slow", Description: "replies take <20 ms more", Verdict: "fail", Broken: Figures{Requests: 1, Failed: 1},
			Problems: []string{"1 requests failed, the first: GET /: 502", "Redis was not used again"},
		},
		{Fault: "emptied", Description: "all keys vanish", Verdict: "skipped", Problems: []string{}, Skipped: "Redis is somebody's"},
	}
	r := Report{Seed: 7, Rate: 200, Each: 3000, Rows: three}
	const (
		nothing = `{"requests":0,"failed":0,"p50_ms":0,"p99_ms":0,"hit_ratio":0}`
		never   = `"trips":0,"to_trip_ms":null,"to_return_ms":null,"apart_ms":null`
		want    = `{"seed":7,"rate":200,"each_ms":3000,"passed":false,"rows":[` +
			`{"fault":"cut","description":"the server is dead","verdict":"pass","problems":[],` +
			`"broken":{"requests":600,"failed":0,"p50_ms":0.3,"p99_ms":2.5,"hit_ratio":0.5},` +
			`"healthy":{"requests":500,"failed":0,"p50_ms":1,"p99_ms":2,"hit_ratio":0.25},` +
			`"trips":1,"to_trip_ms":1.8,"to_return_ms":575.8,"apart_ms":20},` +
			`{"fault":"slow","description":"replies take \u003c20 ms more","verdict":"fail",` +
			`"problems":["1 requests failed, the first: GET /: 502","Redis was not used again"],` +
			`"broken":{"requests":1,"failed":1,"p50_ms":0,"p99_ms":0,"hit_ratio":0},"healthy":` + nothing + `,` + never + `},` +
			`{"fault":"emptied","description":"all keys vanish","verdict":"skipped","problems":[],` +
			`"skipped":"Redis is somebody's","broken":` + nothing + `,"healthy":` + nothing + `,` + never + `}]}`
		table = `
    fault  requests  5xx    p50  healthy    p99  healthy  hits  healthy  trips  to trip  to return   apart  verdict
      cut       600    0  0.3ms    1.0ms  2.5ms    2.0ms  0.50     0.25      1    1.8ms    575.8ms  20.0ms     pass
     slow         1    1      -        -      -        -  0.00     0.00      0        -          -       -     FAIL
  emptied         -    -      -        -      -        -     -        -      -        -          -       -  skipped
slow (replies take <20 ms more): 1 requests failed, the first: GET /: 502; Redis was not used again
emptied: skipped: Redis is somebody's
`
	)
	if got, err := json.Marshal(r); err != nil || string(got) != want {
		t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
	}
	var got bytes.Buffer
	if err := r.Table(&got); err != nil || "\n"+got.String() != table {
		t.Errorf("%v\n%s", err, got.String())
	}
}

// A failure ends the drill and all that it started.
func TestRun(t *testing.T) {
	ended := ""
	broken := errors.New("no redis-server")
	err := Run(func(t env.T) error {
		t.Cleanup(func() { ended += "first" })
		t.Cleanup(func() { ended += "second " })
		t.Fatalf("start: %v", broken)
		return nil
	})
	if err == nil || err.Error() != "start: no redis-server" || ended != "second first" {
		t.Errorf("%v, ended %q", err, ended)
	}
	if err := Run(func(env.T) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}
