package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jewgo/gateway/internal/gcra"
)

// longestLimit bounds how far a limit's state may lie in the future, so that
// nanoseconds since 1970 stay far from the end of an int64.
const longestLimit = 10 * 365 * 24 * time.Hour

// Every tier of a limit may be looked at for each request.
const maxTiers = 64

var (
	whens    = map[string]When{"always": Always, "anonymous": Anonymous, "session": WithSession}
	missings = map[string]Missing{"skip": MissingSkip, "deny": MissingDeny, "client_ip": MissingClientIP}
)

func (c *compiler) limits() map[string]*Limit {
	limits := make(map[string]*Limit, len(c.policy.Limits))
	for _, name := range keys(c.policy.Limits) {
		def := c.policy.Limits[name]
		limits[name] = c.limit(name, &def)
		c.policy.Limits[name] = def
	}
	return limits
}

// limit compiles a limit and fills the defaults in def that depend on its other
// keys.
func (c *compiler) limit(name string, def *LimitDef) *Limit {
	path := join("limits", name)
	c.name(path, "limit", name)
	l := &Limit{
		Name:       name,
		Key:        c.sources(join(path, "key"), def.Key, limitSources),
		When:       whens[def.When],
		IPv6Prefix: def.IPv6Prefix,
		Shadow:     def.Shadow,
		InFlight:   def.InFlight,
	}
	if len(def.Key) == 0 {
		c.invalid(join(path, "key"), "key must not be empty")
	}
	if def.Missing == "" {
		def.Missing = "client_ip"
		if usesSession(l.Key) {
			def.Missing = "skip"
		}
	}
	l.Missing = missings[def.Missing]
	l.lists = c.lists(path, def)
	if c.counted(path) {
		l.Quota = c.quota(path, def.Rate, &def.Burst)
		c.costs(path, def.Cost, l)
		c.statuses(join(path, "statuses"), def.Statuses, l)
		c.lease(join(path, "lease"), def.Lease, l)
		c.tiers(path, def.Tiers, l)
		c.overrides(path, def.Overrides, l)
	}
	return l
}

// counted reports whether a limit is one of a rate. It has that or in_flight,
// which leaves nothing to say of rates.
func (c *compiler) counted(path string) bool {
	rate, inFlight := join(path, "rate"), join(path, "in_flight")
	switch {
	case c.has(rate) && c.has(inFlight):
		c.invalid(inFlight, "a limit has rate or in_flight, not both")
		return false
	case c.has(rate):
		return true
	case !c.has(inFlight):
		if c.sound(rate, inFlight) {
			c.missing(path, "the limit needs rate or in_flight")
		}
		return false
	}
	for _, key := range []string{"burst", "cost", "tiers", "overrides", "statuses", "lease"} {
		if c.has(join(path, key)) {
			c.invalid(join(path, key), "%s needs rate: it means nothing to a limit of in_flight", key)
		}
	}
	return false
}

// quota compiles the rate and burst of the mapping at path and fills the burst's
// default. It is zero if the rate could not be read.
func (c *compiler) quota(path string, rate Rate, burst *int) gcra.Quota {
	if rate.Tokens == 0 {
		return gcra.Quota{}
	}
	if *burst == 0 {
		*burst = rate.Tokens
	}
	q := gcra.Quota{Rate: rate.Tokens, Period: rate.Period, Burst: *burst}
	if int64(q.Burst) > int64(longestLimit/q.Interval()) && c.readable(path) {
		c.invalid(join(path, "burst"), "a burst of %d at this rate takes more than ten years to come back", q.Burst)
	}
	return q
}

// readable reports whether the rate and burst of the mapping at path are what
// was meant, so that others can be compared with them.
func (c *compiler) readable(path string) bool {
	return !c.typos[path] && c.sound(join(path, "rate"), join(path, "burst"))
}

// costs compiles what requests take, none more than the burst.
func (c *compiler) costs(path string, def Costs, l *Limit) {
	at, readable := join(path, "cost"), c.readable(path) && l.Quota.Burst > 0
	dear := func(place string, n int, what string) {
		if n > l.Quota.Burst && readable {
			c.invalid(place, "cost %d is more than the burst of %d: no %s would pass", n, l.Quota.Burst, what)
		}
	}
	if n := def[""]; n > 0 && !c.given(join(at, "")) { // a number, for every method
		l.cost = n
		dear(at, n, "request")
		return
	}
	l.costs = make(map[string]int, len(def)+1)
	for _, method := range keys(def) {
		c.method(join(at, method), method)
		dear(join(at, method), def[method], method)
		l.costs[method] = def[method]
	}
	if get, head := l.costs["GET"], l.costs["HEAD"]; get > 0 && head == 0 {
		l.costs["HEAD"] = get
	}
}

func (c *compiler) statuses(path string, def []Status, l *Limit) {
	for i, s := range def {
		if slices.Contains(def[:i], s) {
			text, _ := s.MarshalText() // never fails
			c.invalid(index(path, i), "duplicate status %s", text)
		}
		first, last := int(s), int(s)
		if s < 10 {
			first, last = int(s)*100, int(s)*100+99
		}
		for status := first; status <= last; status++ {
			l.statuses.add(status)
		}
	}
}

// lease compiles how much may be prepaid: one token is what no lease takes.
func (c *compiler) lease(path string, def int, l *Limit) {
	if def > 1 {
		l.Lease = def
	}
	switch {
	case l.Lease > 0 && c.has(strings.TrimSuffix(path, "lease")+"statuses"):
		c.invalid(path, "lease does not go with statuses: what they count is charged when it is known, not ahead")
	case def > l.Quota.Burst && c.readable(strings.TrimSuffix(path, ".lease")) && l.Quota.Burst > 0:
		c.invalid(path, "lease %d is more than the burst of %d", def, l.Quota.Burst)
	}
}

// covers checks that the burst of a tier or override, the mapping at path, is
// not less than what the limit takes at once.
func (c *compiler) covers(path string, q gcra.Quota, l *Limit) {
	dearest := max(1, l.cost)
	for _, n := range l.costs {
		dearest = max(dearest, n)
	}
	if q.Burst == 0 || !c.readable(path) {
		return
	}
	if q.Burst < dearest {
		c.invalid(join(path, "burst"), "a burst of %d is less than the cost of %d: no such request would pass", q.Burst, dearest)
	}
	if q.Burst < l.Lease {
		c.invalid(join(path, "burst"), "a burst of %d is less than the lease of %d", q.Burst, l.Lease)
	}
}

// rated reports the rate that a mapping must have and that the environment
// leaves empty; one that is not there at all is the decoder's to report.
func (c *compiler) rated(path string) {
	if c.empty[join(path, "rate")] {
		c.missing(path, "missing key %q", "rate")
	}
}

func (c *compiler) tiers(path string, defs map[string]TierDef, l *Limit) {
	at := join(path, "tiers")
	if c.has(at) && len(defs) == 0 {
		c.invalid(at, "tiers must not be empty")
	}
	if len(defs) > maxTiers {
		c.invalid(at, "%d tiers are too many: at most %d", len(defs), maxTiers)
		return
	}
	for _, name := range keys(defs) {
		def, place := defs[name], join(at, name)
		c.rated(place)
		if wrong := tierProblem(name, l); wrong != "" {
			c.invalid(place, "%s", wrong)
		}
		q := c.quota(place, def.Rate, &def.Burst)
		c.covers(place, q, l)
		if q.Rate > 0 {
			l.Tiers = append(l.Tiers, Tier{name, q})
		}
		defs[name] = def
	}
	slices.SortFunc(l.Tiers, func(a, b Tier) int { // a shorter interval is a higher rate
		return cmp.Or(cmp.Compare(a.Quota.Interval(), b.Quota.Interval()), cmp.Compare(b.Quota.Burst, a.Quota.Burst), cmp.Compare(a.Name, b.Name))
	})
}

// tierProblem says why a tier is none, or why nobody who is counted is in it.
func tierProblem(name string, l *Limit) string {
	const most = 64
	lacking := l.Missing != MissingClientIP
	switch {
	case name == "" || len(name) > most || strings.ContainsFunc(name, unicode.IsControl):
		return "bad tier name (a role of at most 64 bytes, without control characters)"
	case l.When == Anonymous && name != tierAnonymous:
		return "nobody is in this tier: the limit is for when: anonymous"
	case l.When == WithSession && name == tierAnonymous:
		return "nobody is in this tier: the limit is for when: session"
	case name == tierAnonymous && lacking && usesSession(l.Key),
		name == tierGuest && lacking && slices.Contains(l.Key, Source{Kind: SourceSessionUser}):
		return "nobody in this tier has the limit's key, and missing is not client_ip"
	}
	return ""
}

// lists compiles the allow and deny lists.
func (c *compiler) lists(path string, def *LimitDef) prefixTable[Verdict] {
	verdicts := map[netip.Prefix]Verdict{}
	for _, list := range []struct {
		key     string
		blocks  []Prefix
		verdict Verdict
	}{{"allow", def.Allow, Exempt}, {"deny", def.Deny, Denied}} {
		for i, p := range list.blocks {
			at := index(join(path, list.key), i)
			if !p.IsValid() {
				continue // it could not be read
			}
			switch before, ok := verdicts[p.Prefix]; {
			case ok && before == list.verdict:
				c.invalid(at, "duplicate address block %s", p)
			case ok:
				c.invalid(at, "%s is in allow and in deny", p)
			}
			verdicts[p.Prefix] = list.verdict
		}
	}
	return newPrefixTable(verdicts)
}
