package drill

import (
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/policy"
)

// tenASecond admits a burst of 10, then 10/s.
var tenASecond = &policy.Limit{Name: "ten", Quota: gcra.Quota{Rate: 10, Period: time.Second, Burst: 10}}

// at returns n admissions at each of the seconds, without delay.
func at(n int, seconds ...float64) (all []admission) {
	for _, s := range seconds {
		t := time.Duration(s * float64(time.Second))
		for range n {
			all = append(all, admission{t, t})
		}
	}
	return all
}

func TestLook(t *testing.T) {
	fault := func(from, to float64) event {
		return event{from: time.Duration(from * float64(time.Second)), to: time.Duration(to * float64(time.Second))}
	}
	allowed := (event{}).beyond(tenASecond.Quota, 3)
	if allowed != 16 {
		t.Fatalf("a fault without an outage may add %.1f, want 16", allowed)
	}
	for _, tc := range []struct {
		sentence   string
		admissions []admission
		faults     []event
		overshoot  float64
		broken     float64
	}{
		{"a burst", at(10, 1), nil, 0, 0},
		{"a burst, and what came back since", at(10, 1, 2, 3), nil, 0, 0},
		{"one more in the burst", at(11, 1), nil, 1, 1},
		{"a little more in each of many seconds", at(12, 1, 2, 3, 4, 5), nil, 10, 10},
		{"the same in a time with a fault", at(12, 1, 2, 3, 4, 5), []event{fault(0, 9)}, 10, -1}, // of 12 at once, 23 allowed: so none beyond
		{"a burst too many before a fault", at(20, 1), []event{fault(2, 3)}, 10, 10},
		{"a burst too many after a fault", at(20, 4), []event{fault(2, 3)}, 10, 10},
		{"in a window that a fault falls into", at(10, 1, 1.5, 4), []event{fault(1.2, 1.3)}, 5, 0},
		{"each gateway's own limit holds in any case", at(31, 1), []event{fault(0, 2), fault(0, 2), fault(0, 2)}, 21, 1},
	} {
		w := look(tenASecond.Quota, 3, tc.admissions, tc.faults)
		if !near(w.Overshoot, tc.overshoot) || tc.broken >= 0 && !near(w.Broken, tc.broken) || tc.broken < 0 && w.Broken > 0 {
			t.Errorf("%s: %+v, want %.0f beyond the rate and %.0f beyond the bound", tc.sentence, w, tc.overshoot, tc.broken)
		}
	}
	// Sent in time, and delayed on the way.
	var late []admission
	for i := range 20 {
		late = append(late, admission{time.Duration(i) * 100 * time.Millisecond, 3 * time.Second})
	}
	if w := look(tenASecond.Quota, 3, late, nil); w.Broken > 0 {
		t.Errorf("requests that were delayed on the way count against the limit: %+v", w)
	}
}

func near(a, b float64) bool { return a-b < 1e-6 && b-a < 1e-6 }

// A row lists all its problems.
func TestLimitsRow(t *testing.T) {
	c := &limitsClient{greedy: true, route: &policy.Route{Pattern: "/a", Limits: []*policy.Limit{tenASecond}}, admitted: 10, failed: 1, first: "502 "}
	row := c.row(tenASecond, windows{Broken: 3}, 10*time.Second)
	if all := strings.Join(row.Problems, "; "); !strings.Contains(all, "3.0 tokens beyond the bound") || !strings.Contains(all, "1 requests failed, the first: 502") || !strings.Contains(all, "only 10 of at least 50") {
		t.Errorf("problems %q", all)
	}
	c.greedy, c.refused, c.failed = false, 2, 0
	if row = c.row(tenASecond, windows{}, 10*time.Second); len(row.Problems) != 1 || !strings.Contains(row.Problems[0], "2 requests within the limit were refused") {
		t.Errorf("problems %q", row.Problems)
	}
	var b strings.Builder
	if err := (LimitsReport{Gateways: 3, Rows: []LimitsRow{row}, Faults: []LimitsEvent{{Fault: "stopped", Outage: 1500}, {Fault: "stopped", Outage: 500}}}).Table(&b); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); !strings.Contains(text, "FAIL") || !strings.Contains(text, "2 faults, Redis down for 2.0s in total: stopped 2×") {
		t.Errorf("table:\n%s", text)
	}
}

// The upstream keeps a bounded number of admissions, in order.
func TestAdmissionLog(t *testing.T) {
	l := upstream{by: map[string][]admission{}}
	for i := range maxAdmissions + 5 {
		l.add("a", admission{arrived: time.Duration(-i)})
	}
	all := l.of("a")
	if len(all) != maxAdmissions || all[0].arrived > all[1].arrived {
		t.Errorf("%d admissions, the first at %v and %v", len(all), all[0].arrived, all[1].arrived)
	}
}
