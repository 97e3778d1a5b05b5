package main

import (
	"fmt"
	"math"
	"testing"
)

// The bound of garbage follows cache.memory, unless the environment says another.
func TestGarbageIsBounded(t *testing.T) {
	t.Parallel()
	upstream := serveBackend(t, hostileBackend)
	for _, tt := range []struct {
		environ        []string
		limit, percent string
	}{
		{nil, fmt.Sprintf("%.10g", float64(16<<20+memoryRest)), fmt.Sprint(collectAt)},
		{[]string{"GOMEMLIMIT=1GiB"}, fmt.Sprintf("%.10g", float64(1<<30)), fmt.Sprint(collectAt)},
		{[]string{"GOMEMLIMIT=off"}, fmt.Sprintf("%.10g", float64(math.MaxInt64)), fmt.Sprint(collectAt)},
		{[]string{"GOGC=50", "GOMEMLIMIT=1GiB"}, fmt.Sprintf("%.10g", float64(1<<30)), "50"},
	} {
		file := t.TempDir() + "/gateway.yaml"
		writePolicy(t, file, fmt.Sprintf(hostilePolicy, upstream))
		g := start(t, tt.environ, "run", "--config", file)
		if got := g.metric(t, "go_gc_gomemlimit_bytes"); fmt.Sprintf("%.10g", got) != tt.limit {
			t.Errorf("%v: a limit of %v, want %s", tt.environ, got, tt.limit)
		}
		if got := g.metric(t, "go_gc_gogc_percent"); fmt.Sprint(got) != tt.percent {
			t.Errorf("%v: %v %%, want %s", tt.environ, got, tt.percent)
		}
	}
}

func TestGarbageRelaxes(t *testing.T) {
	t.Parallel()
	g := &garbage{bound: 160}
	for _, tt := range []struct {
		relaxed bool
		used    int64
		want    bool
	}{{false, 10, false}, {false, 120, false}, {false, 121, true}, {true, 121, true}, {true, 80, true}, {true, 79, false}} {
		if g.relaxed = tt.relaxed; g.relaxes(tt.used) != tt.want {
			t.Errorf("%+v", tt)
		}
	}
}
