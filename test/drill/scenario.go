package drill

import (
	"math/rand/v2"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/test/faultproxy"
)

// Scenario is one way in which Redis fails. Start and End do not wait for what
// they bring about.
type Scenario struct {
	Name, Description string
	// Prepare is called before the time in which nothing is broken, and end once
	// the scenario is over; nil: nothing is to be prepared.
	Prepare    func() (others []Gateway, end func(), err error)
	Start, End func() error
	// More returns whose Fill is further traffic from Start to End; nil: there is none.
	More func() *Mix
	// Check looks for what no client may see once all gateways use Redis again; nil:
	// there is no more than the traffic sees.
	Check    func() error
	NeverFor string // Redis must not be given up for a reason that contains this; "": any will do
	Steady   bool   // Redis is of no use all the time, until End
	Late     bool   // answers come after Redis was given up
	Loss     bool   // Redis does not hold afterwards what it held
	Skip     string // why it cannot be played; "": it can
}

// Gateway is one more gateway on the same Redis.
type Gateway struct {
	Target vegeta.Targeter // traffic through it
	Status func() failover.Status
}

// Own is what may be done with a Redis that nobody else uses.
type Own struct {
	Empty   func() error // all keys vanish
	Save    func() error // what it holds now is what Restart finds
	Kill    func() error
	Restart func() error // returns once it answers
	// Others starts further gateways; end ends them.
	Others func() (others []Gateway, end func(), err error)

	// What is played where the epoch, and with it the table of purges, is evicted,
	// and where responses would fill Redis; names and verdicts are given here.
	Evicted, Full Scenario
}

// named gives a name and a description to what is played.
func (s Scenario) named(name, description string) Scenario {
	s.Name, s.Description = name, description
	return s
}

// notOwn is why scenarios are skipped that would hurt whoever uses that Redis.
const notOwn = "Redis is not the drill's own"

// Scenarios are all that can be played with a proxy before Redis, whose Redis
// behind it is the drill's own; nil: it is not, and must be neither emptied nor
// restarted.
func Scenarios(proxy *faultproxy.Proxy, own *Own) []Scenario {
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
	skip := ""
	if own == nil {
		own, skip = &Own{}, notOwn
	}
	cut := set(faultproxy.Fault{Link: faultproxy.Cut})
	evicted := own.Evicted.named("table-evicted", "under purges, the key of the epoch and of the generations of tags vanishes alone")
	evicted.Loss = true
	full := own.Full.named("full", "maxmemory is near, refuses writes, and responses come that nobody has stored yet")
	full.NeverFor = "OOM"
	for _, s := range []Scenario{
		{Name: "emptied", Description: "all keys vanish, nothing else is wrong", Start: own.Empty, End: func() error { return nil }, Loss: true},
		{Name: "restarted-empty", Description: "the server is dead, and comes back empty", Start: cut, End: func() error {
			if err := own.Empty(); err != nil {
				return err
			}
			return proxy.Heal()
		}, Steady: true, Loss: true},
		{Name: "restored-old", Description: "the server is killed, and comes back with what it held some seconds before", Prepare: func() ([]Gateway, func(), error) {
			return nil, func() {}, own.Save()
		}, Start: own.Kill, End: own.Restart, Steady: true, Loss: true},
		{
			Name: "several", Description: "the server is dead for three gateways, which return within " + together.String() + " of each other",
			Prepare: own.Others, Start: cut, End: proxy.Heal, Steady: true,
		},
		evicted,
		full,
	} {
		s.Skip = skip
		all = append(all, s)
	}
	return all
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
