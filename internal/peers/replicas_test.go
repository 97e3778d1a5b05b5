package peers

import (
	"math"
	"testing"
	"time"
)

func TestReplicas(t *testing.T) {
	var r Replicas
	start := time.Unix(1_700_000_000, 0)
	if r.Count() != 1 {
		t.Fatalf("a gateway that saw nobody believes in %d", r.Count())
	}
	r.Believe(3) // from the disk
	for _, step := range []struct {
		sentence string
		after    time.Duration
		seen     int
		want     int
		changed  bool
	}{
		{"the earlier belief holds at first", 0, 1, 3, false},
		{"one more gateway is believed at once", time.Second, 4, 4, true},
		{"one gateway less is not", time.Minute, 2, 4, false},
		{"nor a few minutes later", 6 * time.Minute, 2, 4, false},
		{"but after replicasHold", 12 * time.Minute, 2, 2, true},
		{"the belief survives an outage of hours", 5 * time.Hour, 1, 2, false},
		{"and expires after it", 5*time.Hour + 6*time.Minute, 1, 1, true},
	} {
		if changed := r.See(step.seen, start.Add(step.after)); changed != step.changed || r.Count() != step.want {
			t.Errorf("%s: %d after %v (changed %v), want %d", step.sentence, r.Count(), step.after, changed, step.want)
		}
	}
}

// A number from a file or another process must not reduce shares to almost nothing.
func TestReplicasAreBounded(t *testing.T) {
	for _, n := range []int{math.MaxInt, 1 << 32, 10_001} {
		var believed, seen Replicas
		believed.Believe(n)
		seen.See(n, time.Unix(1_700_000_000, 0))
		if believed.Count() != 10_000 || seen.Count() != 10_000 {
			t.Errorf("of %d: believed in %d, saw %d", n, believed.Count(), seen.Count())
		}
	}
	var r Replicas
	if r.Believe(-5); r.Count() != 1 {
		t.Errorf("believes in %d", r.Count())
	}
}
