package peers

import (
	"bytes"
	"strings"
	"testing"

	"github.com/jewgo/gateway/test/env"
)

var nextKey = []byte("the key that comes after it")

func keys(all ...[]byte) func(*Config) { return func(c *Config) { c.Keys = all } }

// While a key is replaced, in the documented order, all gateways can talk to each other at each
// step, even if they are one step apart.
func TestRotationOfTheKey(t *testing.T) {
	steps := []func(*Config){
		keys(fleetKey), keys(fleetKey, nextKey), keys(nextKey, fleetKey), keys(nextKey),
	}
	for i := range len(steps) - 1 {
		net := newNetwork(t)
		a, b := net.node(t, "a", steps[i]), net.node(t, "b", steps[i+1])
		meet(a, b)
		for _, end := range []struct{ from, to *node }{{a, b}, {b, a}} {
			if reached, _ := end.from.say(t, rec("said by "+end.from.self.ID, 1)); len(reached) != 1 {
				t.Errorf("step %d: %s is rejected: %s", i, end.from.self.ID, end.from.statusOf(end.to).Error)
			}
			if reached, _ := end.from.Pull(t.Context()); len(reached) != 1 {
				t.Errorf("step %d: %s cannot pull", i, end.from.self.ID)
			}
		}
	}
}

// A gateway without a key in common with the others is rejected.
func TestKeysInCommon(t *testing.T) {
	net := newNetwork(t)
	a, b := net.node(t, "a", keys(fleetKey, nextKey)), net.node(t, "b", keys(bytes.Repeat([]byte("x"), 32)))
	a.Learn([]Peer{b.self})
	env.Until(t, "it is refused", func() bool { return strings.Contains(a.statusOf(b).Error, "another key") })
	if s := a.statusOf(b); s.Reachable {
		t.Error("it counts as reachable")
	}
}

// Mismatches of two gateways' keys are reported, but not the steps of a rotation.
func TestMismatch(t *testing.T) {
	other := bytes.Repeat([]byte("x"), 32)
	for _, c := range []struct {
		ours, theirs [][]byte
		want         string
	}{
		{[][]byte{fleetKey}, [][]byte{fleetKey}, ""},
		{[][]byte{fleetKey}, [][]byte{fleetKey, nextKey}, ""},
		{[][]byte{nextKey, fleetKey}, [][]byte{fleetKey, nextKey}, ""},
		{[][]byte{nextKey}, [][]byte{nextKey, fleetKey}, ""},
		{[][]byte{nextKey, fleetKey}, [][]byte{fleetKey}, "lacks the key that this gateway seals with"},
		{[][]byte{fleetKey, nextKey}, [][]byte{other}, "has no key in common with this gateway"},
		{[][]byte{fleetKey}, nil, ""},
	} {
		ours, err := newIdentity(c.ours)
		if err != nil {
			t.Fatal(err)
		}
		announced := ""
		if c.theirs != nil {
			theirs, err := newIdentity(c.theirs)
			if err != nil {
				t.Fatal(err)
			}
			announced = strings.Join(theirs.names, " ")
		}
		if got := ours.mismatch(announced); got != c.want {
			t.Errorf("ours %q, theirs %q: %q, want %q", c.ours, c.theirs, got, c.want)
		}
	}
}
