package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/policy/yamlfile"
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
	path := "limits." + name
	c.name(path, "limit", name)
	l := &Limit{
		Name:       name,
		Key:        c.sources(path+".key", def.Key, limitSources),
		When:       whens[def.When],
		IPv6Prefix: def.IPv6Prefix,
		Shadow:     def.Shadow,
		InFlight:   def.InFlight,
	}
	c.InvalidIf(len(def.Key) == 0, path+".key", "key must not be empty")
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
		c.statuses(path+".statuses", def.Statuses, l)
		c.lease(path+".lease", def.Lease, l)
		c.tiers(path, def.Tiers, l)
		c.overrides(path, def.Overrides, l)
	}
	return l
}

// counted reports whether a limit has a rate. Otherwise it has in_flight, and no key that
// is about rates.
func (c *compiler) counted(path string) bool {
	rate, inFlight := c.Has(path+".rate"), c.Has(path+".in_flight")
	switch {
	case rate:
		c.InvalidIf(inFlight, path+".in_flight", "a limit has rate or in_flight, not both")
	case inFlight:
		for _, key := range []string{"burst", "cost", "tiers", "overrides", "statuses", "lease"} {
			c.InvalidIf(c.Has(path+"."+key), path+"."+key, "%s needs rate: it has no meaning with in_flight", key)
		}
	case c.Sound(path+".rate", path+".in_flight"):
		c.Missing(path, "the limit needs rate or in_flight")
	}
	return rate && !inFlight
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
	c.InvalidIf(int64(q.Burst) > int64(longestLimit/q.Interval()) && c.readable(path), path+".burst", "a burst of %d at this rate takes more than ten years to refill", q.Burst)
	return q
}

// readable reports whether the rate and burst of the mapping at path were read, so that
// others can be compared with them.
func (c *compiler) readable(path string) bool {
	return !c.Misspelt(path) && c.Sound(path+".rate", path+".burst")
}

// costs compiles the costs of requests; none is more than the burst.
func (c *compiler) costs(path string, def Costs, l *Limit) {
	at, readable := path+".cost", c.readable(path) && l.Quota.Burst > 0
	dear := func(place string, n int, what string) {
		c.InvalidIf(n > l.Quota.Burst && readable, place, "cost %d is more than the burst of %d: no %s would pass", n, l.Quota.Burst, what)
	}
	if n := def[""]; n > 0 && !c.Given(at+".") { // a number, for every method
		l.cost = n
		dear(at, n, "request")
		return
	}
	l.costs = make(map[string]int, len(def)+1)
	for _, method := range keys(def) {
		if wrong := methodProblem(method); wrong != "" {
			c.Invalid(at+"."+method, "%s", wrong)
		}
		dear(at+"."+method, def[method], method)
		l.costs[method] = def[method]
	}
	if get, head := l.costs["GET"], l.costs["HEAD"]; get > 0 && head == 0 {
		l.costs["HEAD"] = get
	}
}

func (c *compiler) statuses(path string, def []Status, l *Limit) {
	l.statuses = map[int]bool{}
	for i, s := range def {
		if slices.Contains(def[:i], s) {
			text, _ := s.MarshalText() // never fails
			c.Invalid(c.Item(path, i), "duplicate status %s", text)
		}
		for status := range s.all() {
			l.statuses[status] = true
		}
	}
}

// lease compiles how many tokens may be taken in advance.
func (c *compiler) lease(path string, def Lease, l *Limit) {
	l.Lease = def
	switch byStatus := c.Has(strings.TrimSuffix(path, "lease") + "statuses"); {
	case byStatus && def <= NoLease:
		l.Lease = NoLease
	case byStatus:
		c.Invalid(path, "lease cannot be combined with statuses: those are charged after the response, not in advance")
	case def > NoLease && int(def) > l.Quota.Burst && c.readable(strings.TrimSuffix(path, ".lease")) && l.Quota.Burst > 0:
		c.Invalid(path, "lease %d is more than the burst of %d", def, l.Quota.Burst)
	}
}

// other compiles the rate and burst of a tier or override, the mapping at path: its
// burst must not be less than what the limit takes at once. A rate that is not there
// at all is the decoder's to report, not one that the environment leaves empty.
func (c *compiler) other(path string, rate Rate, burst *int, l *Limit) gcra.Quota {
	if c.Given(path+".rate") && !c.Has(path+".rate") {
		c.Missing(path, "missing key %q", "rate")
	}
	q, dearest := c.quota(path, rate, burst), max(1, l.cost)
	for _, n := range l.costs {
		dearest = max(dearest, n)
	}
	if q.Burst > 0 && c.readable(path) {
		c.InvalidIf(q.Burst < dearest, path+".burst", "a burst of %d is less than the cost of %d: no such request would pass", q.Burst, dearest)
		c.InvalidIf(l.Lease > NoLease && q.Burst < int(l.Lease), path+".burst", "a burst of %d is less than the lease of %d", q.Burst, l.Lease)
	}
	return q
}

func (c *compiler) tiers(path string, defs map[string]TierDef, l *Limit) {
	at := path + ".tiers"
	c.InvalidIf(c.Has(at) && len(defs) == 0, at, "tiers must not be empty")
	if len(defs) > maxTiers {
		c.Invalid(at, "%d tiers are too many: at most %d", len(defs), maxTiers)
		return
	}
	for _, name := range keys(defs) {
		def, place := defs[name], at+"."+name
		if wrong := tierProblem(name, l); wrong != "" {
			c.Invalid(place, "%s", wrong)
		}
		if q := c.other(place, def.Rate, &def.Burst, l); q.Rate > 0 {
			l.Tiers = append(l.Tiers, Tier{name, q})
		}
		defs[name] = def
	}
	slices.SortFunc(l.Tiers, func(a, b Tier) int { // a shorter interval is a higher rate
		return cmp.Or(cmp.Compare(a.Quota.Interval(), b.Quota.Interval()), cmp.Compare(b.Quota.Burst, a.Quota.Burst), cmp.Compare(a.Name, b.Name))
	})
}

// tierProblem says why a tier is invalid, or why no counted caller is in it.
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
	for i, block := range slices.Concat(def.Allow, def.Deny) {
		at, verdict := c.Item(path+".allow", i), Exempt
		if denied := i - len(def.Allow); denied >= 0 {
			at, verdict = c.Item(path+".deny", denied), Denied
		}
		switch before, ok := verdicts[block.Prefix]; {
		case !block.IsValid(): // it could not be read
			continue
		case ok && before == verdict:
			c.Invalid(at, "duplicate address block %s", block)
		case ok:
			c.Invalid(at, "%s is in allow and in deny", block)
		}
		verdicts[block.Prefix] = verdict
	}
	return newPrefixTable(verdicts)
}

// overrides compiles a limit's overrides and fills their bursts in defs.
func (c *compiler) overrides(path string, defs []OverrideDef, l *Limit) {
	exact, blocks, first := map[string]gcra.Quota{}, map[netip.Prefix]gcra.Quota{}, map[string]int{}
	o := &l.overrides
	for i := range defs {
		def, at := &defs[i], c.Item(path+".overrides", i)
		q := c.other(at, def.Rate, &def.Burst, l)
		key, ok := c.overrideKey(at+".key", def.Key, l)
		if !ok {
			continue
		}
		id := fmt.Sprintf("%q %s", key.parts, key.client)
		if line, again := first[id]; again {
			c.Invalid(at+".key", "duplicate override of %q (first at line %d)", def.Key, line)
			continue
		}
		first[id] = c.At(at + ".key").Line
		o.quotas = append(o.quotas, q)
		switch key.quota = q; {
		case len(key.parts) == 0:
			blocks[key.client] = q
		case len(key.parts) == 1:
			exact[key.parts[0]] = q
		default:
			o.combined = append(o.combined, key)
		}
	}
	o.exact, o.address = exact, newPrefixTable(blocks)
	slices.SortStableFunc(o.combined, func(a, b combined) int { return cmp.Compare(b.client.Bits(), a.client.Bits()) })
}

// overrideKey compiles the key of an override; it has no parts where the client is counted
// by its address. It is false, and reported, if the limit has no such key.
func (c *compiler) overrideKey(path string, values StringList, l *Limit) (key combined, ok bool) {
	switch {
	case len(values) == 0:
		c.InvalidIf(c.Given(path), path, "key must not be empty")
		return key, false
	case len(l.Key) == 0: // reported already
		return key, false
	case fallsBack(l) && len(values) == 1:
		if block, wrong := countedBlock(values[0], l); block.IsValid() {
			c.InvalidIf(wrong != "", path, "%s", wrong)
			return combined{client: block}, wrong == ""
		}
	}
	if len(values) != len(l.Key) {
		c.Invalid(path, "expected a list of %d, the parts of the limit's key, found %d", len(l.Key), len(values))
		return key, false
	}
	key.parts = make([]string, len(values))
	for i, s := range l.Key {
		wrong := ""
		if s.Kind == SourceClientIP {
			key.client, wrong = countedBlock(values[i], l)
		} else if key.parts[i], wrong = exactValue(s.Kind, values[i]); wrong != "" {
			wrong = fmt.Sprintf("no request has the key %q: %s", yamlfile.Clip(values[i]), wrong)
		}
		if wrong != "" {
			c.Invalid(c.Item(path, i), "%s", wrong)
			return key, false
		}
	}
	if len(l.Key) == 1 && key.client.IsValid() {
		key.parts = nil
	}
	return key, true
}

// fallsBack reports whether requests without the key are counted by address. Path values
// and hosts are always present.
func fallsBack(l *Limit) bool {
	return l.Missing == MissingClientIP && slices.ContainsFunc(l.Key, func(s Source) bool {
		return s.Kind != SourceClientIP && s.Kind != SourcePath && s.Kind != SourceHost
	})
}

// countedBlock reads an address block, or says why no request is counted by it. It must
// contain every address that shares a bucket with one of its addresses.
func countedBlock(text string, l *Limit) (_ netip.Prefix, wrong string) {
	var block Prefix
	if err := block.UnmarshalText([]byte(text)); err != nil {
		wrong = err.Error()
	} else if block.Addr().Is6() && block.Bits() > l.IPv6Prefix {
		wrong = fmt.Sprintf("%s is narrower than what is counted together: ipv6_prefix is %d", block, l.IPv6Prefix)
	}
	return block.Prefix, wrong
}

// exactValue returns a part of a key as requests have it, or says why none does.
func exactValue(kind SourceKind, text string) (value, wrong string) {
	switch {
	case text == "":
		return "", "it is empty"
	case kind == SourceHost && !isHost(text):
		return "", "it is not a host (a name or an address, without scheme and port)"
	case kind == SourceHost:
		return NormalHost(text), ""
	case (kind == SourceHeader || kind == SourceCookie) && (strings.TrimSpace(text) != text || strings.ContainsFunc(text, unicode.IsControl)):
		return "", "it begins or ends with a space, or holds a control character"
	}
	return text, ""
}
