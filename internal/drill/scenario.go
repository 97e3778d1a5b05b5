package drill

import (
	"math/rand/v2"
	"time"

	"github.com/jewgo/gateway/internal/faultproxy"
)

// Scenario is one way in which Redis fails. Start and End do not wait for what
// they bring about.
type Scenario struct {
	Name, Description string
	Start, End        func() error
	Steady            bool // Redis is of no use all the time, until End
	Late              bool // answers come after Redis was given up
}

// Scenarios are all that can be played with a proxy before Redis. empty empties
// the Redis behind it; nil leaves out the scenarios that need it, since a Redis
// that is in use must not be emptied.
func Scenarios(proxy *faultproxy.Proxy, empty func() error) []Scenario {
	var all []Scenario
	set := func(f faultproxy.Fault) func() error { return func() error { return proxy.Set(f) } }
	for _, n := range faultproxy.Faults() {
		all = append(all, Scenario{Name: n.Name, Description: n.Description, Start: set(n.Fault), End: proxy.Heal, Steady: steady(n)})
	}
	all = append(all, Scenario{
		Name: "late", Description: "replies take 30 ms, and one write in 15 is refused while others are under way",
		Start: set(faultproxy.Fault{
			Delay: 30 * time.Millisecond,
			Reply: faultproxy.Reply{Do: faultproxy.Refuse, Error: faultproxy.ErrLoading, Only: faultproxy.Writes, Every: 15},
		}),
		End: proxy.Heal, Late: true,
	})
	if empty == nil {
		return all
	}
	return append(all,
		Scenario{Name: "emptied", Description: "all keys vanish, nothing else is wrong", Start: empty, End: func() error { return nil }},
		Scenario{
			Name: "restarted-empty", Description: "the server is dead, and comes back empty", Start: set(faultproxy.Fault{Link: faultproxy.Cut}),
			End: func() error {
				if err := empty(); err != nil {
					return err
				}
				return proxy.Heal()
			}, Steady: true,
		})
}

// steady reports whether a fault leaves nothing of use until it is over.
func steady(n faultproxy.Named) bool {
	f := n.Fault
	switch {
	case f.Flap != (faultproxy.Flap{}), f.Reply.Every > 1, n.Name == "noscript":
		return false
	}
	return f.Link != faultproxy.Whole || f.Reply.Do != faultproxy.Pass || f.Delay > 100*time.Millisecond
}

// Choose returns the scenarios of these names, in their order; none: all.
func Choose(all []Scenario, names []string) (chosen []Scenario, unknown string) {
	if len(names) == 0 {
		return all, ""
	}
	for _, name := range names {
		found := false
		for _, s := range all {
			if s.Name == name {
				chosen, found = append(chosen, s), true
			}
		}
		if !found {
			return nil, name
		}
	}
	return chosen, ""
}

// Shuffle puts scenarios into an order that the seed decides, for a drill that
// has not the time for all.
func Shuffle(all []Scenario, seed uint64) {
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
}
