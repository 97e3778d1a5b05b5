package main

import (
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/jewgo/gateway/internal/drill"
	"github.com/jewgo/gateway/internal/testenv"
)

// A primary dies under load, with nobody to help: whoever takes its place is
// found, and until then everything goes on from memory.
func TestPrimaryLostUnderLoad(t *testing.T) {
	for _, tc := range []struct {
		name  string
		start func(t *testing.T) (url string, kill func())
	}{
		{"Sentinel", func(t *testing.T) (string, func()) {
			s := testenv.Sentinel(t)
			return s.URL, func() { s.KillPrimary() }
		}},
		{"Cluster", func(t *testing.T) (string, func()) {
			c := testenv.Cluster(t)
			return c.URL, func() { c.KillPrimary(0) }
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			url, kill := tc.start(t)
			g := startJewGo(t, url)
			g.readyz(t, "ok")
			const length, seed = 30 * time.Second, 20250911
			t.Logf("seed %d", seed)
			mix := drill.NewMix(g.base, g.login("198.51.100.60"), seed)
			var before, after tally
			killed := false
			begin := time.Now()
			for r := range vegeta.NewAttacker(vegeta.Timeout(10*time.Second), vegeta.MaxWorkers(100)).Attack(mix.Target, vegeta.Rate{Freq: 50, Per: time.Second}, length, tc.name) {
				if !killed && time.Since(begin) > length/3 {
					kill()
					killed = true
				}
				if killed {
					after.add(r)
				} else {
					before.add(r)
				}
			}
			t.Logf("%d requests, %d hits; after the primary's death %d requests, %d hits", before.total, before.hits, after.total, after.hits)
			if len(before.bad) > 0 || len(after.bad) > 0 || after.total < 900 {
				t.Errorf("failures %v %v; %d requests after the primary's death", before.bad, after.bad, after.total)
			}
			g.readyz(t, "ok") // by the new primary
		})
	}
}
