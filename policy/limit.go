package policy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
)

// Limit is a compiled limit: of a rate, or of requests in flight where InFlight
// is set. It is immutable, and its methods allocate nothing.
type Limit struct {
	Name       string
	Quota      gcra.Quota // for whom neither override nor tier applies; zero with InFlight
	Key        []Source
	When       When
	Missing    Missing
	IPv6Prefix int
	Shadow     bool
	Lease      Lease
	InFlight   int    // most requests at once, for each key and gateway; 0: Quota limits
	Tiers      []Tier // the most generous first

	cost      int            // of methods without one of their own; 0 counts as 1
	costs     map[string]int // by method
	overrides overrides
	lists     prefixTable[Verdict]
	statuses  map[int]bool // counted; none: all
}

// When says which requests a limit applies to.
type When int

// The values of a limit's when key.
const (
	Always    When = iota
	Anonymous      // requests without a session
	WithSession
)

// Missing says what happens to a request that lacks the limit's key.
type Missing int

// The values of a limit's missing key.
const (
	MissingSkip Missing = iota
	MissingDeny
	MissingClientIP
)

// Verdict is what a limit's allow and deny lists say of an address.
type Verdict int

// The verdicts. Counted is that of an address in neither list.
const (
	Counted Verdict = iota
	Exempt          // not counted, and never refused by this limit
	Denied          // refused, whatever it has left
)

// Caller is what limits know about the sender of a request.
type Caller struct {
	Client  netip.Addr // invalid: unknown, as for a peer on a unix socket
	Session bool
	User    string // "": a guest, or nobody
	Roles   []string
}

// Tier is the quota of one kind of caller.
type Tier struct {
	Name  string
	Quota gcra.Quota
}

// The tiers that are not roles. Roles with these names are ignored: a role cannot change
// whether a session has a user.
const (
	tierAnonymous = "anonymous" // no session
	tierGuest     = "guest"     // a session without a user
	tierStandard  = "standard"  // a user
)

func (t *Tier) applies(who *Caller) bool {
	switch t.Name {
	case tierAnonymous:
		return !who.Session
	case tierGuest:
		return who.Session && who.User == ""
	case tierStandard:
		return who.Session && who.User != ""
	}
	return who.Session && slices.Contains(who.Roles, t.Name)
}

// Cost is how many tokens a request with this method takes, at least 1.
func (l *Limit) Cost(method string) int {
	return max(1, cmp.Or(l.costs[method], l.cost))
}

// TierOf returns the quota of a caller's bucket, and its tier if it is one's: the override of
// its key, else the most generous tier that applies, else the limit's own quota. A key has a
// bucket for each of them, since a bucket must have one quota: a faster one would refill what
// the slower one was charged.
//
// values are the values of l.Key, in its order; the one of client_ip is ignored, since
// who.Client has it. Without values, or with an empty one, the caller is counted by its
// address because it lacks the key. HasOverrides tells whether values are needed.
func (l *Limit) TierOf(who Caller, values ...string) (tier string, q gcra.Quota) {
	if q, ok := l.OverrideOf(who.Client, values...); ok {
		return "", q
	}
	for i := range l.Tiers {
		if l.Tiers[i].applies(&who) {
			return l.Tiers[i].Name, l.Tiers[i].Quota
		}
	}
	return "", l.Quota
}

// HasOverrides reports whether TierOf looks at the key's values at all.
func (l *Limit) HasOverrides() bool { return len(l.overrides.quotas) > 0 }

// Verdict looks an address up in the allow and deny lists, where the most
// specific block wins.
func (l *Limit) Verdict(client netip.Addr) Verdict {
	v, _ := l.lists.find(client)
	return v
}

// ByStatus reports whether requests are counted when they have been answered,
// by their status, rather than when they arrive.
func (l *Limit) ByStatus() bool { return len(l.statuses) > 0 }

// CountsStatus reports whether a request that was answered with this status
// counts. Without ByStatus every request does.
func (l *Limit) CountsStatus(status int) bool { return !l.ByStatus() || l.statuses[status] }

// Most is the most requests of one key that are admitted within any span of this length,
// by the most generous of the limit's quotas. It is 0 with InFlight, which bounds no rate.
// With ByStatus, requests in flight may come on top, since they are counted later.
func (l *Limit) Most(window time.Duration) int {
	most := l.MostOf(l.Quota, window)
	for _, t := range l.Tiers {
		most = max(most, l.MostOf(t.Quota, window))
	}
	for _, q := range l.overrides.quotas {
		most = max(most, l.MostOf(q, window))
	}
	return most
}

// MostOf is Most for one of the limit's quotas: GCRA admits the burst at once, then one
// request an interval.
func (l *Limit) MostOf(q gcra.Quota, window time.Duration) int {
	if q.Rate == 0 {
		return 0
	}
	return (q.Burst + int(window/q.Interval())) / max(1, l.cost)
}

// overrides are a limit's quotas for single keys.
type overrides struct {
	exact    map[string]gcra.Quota   // by the value of a key of one part that is no address
	address  prefixTable[gcra.Quota] // by the address that a client is counted by
	combined []combined              // by the parts of a longer key, the most specific address first
	quotas   []gcra.Quota            // all of them
}

// combined is the override of a key of several parts.
type combined struct {
	parts  []string     // "" where the key has client_ip
	client netip.Prefix // valid if the key has client_ip
	quota  gcra.Quota
}

// OverrideOf gives the quota of the override that a key has; values are as in
// TierOf.
func (l *Limit) OverrideOf(client netip.Addr, values ...string) (gcra.Quota, bool) {
	switch {
	case !l.HasOverrides():
		return gcra.Quota{}, false
	case l.byAddress(values):
		return l.overrides.address.find(client)
	case len(values) == 1:
		q, ok := l.overrides.exact[values[0]]
		return q, ok
	}
	client = plain(client)
	for i := range l.overrides.combined {
		if c := &l.overrides.combined[i]; c.matches(client, values) {
			return c.quota, true
		}
	}
	return gcra.Quota{}, false
}

// byAddress reports whether the client's address alone selects the bucket: it is the key,
// or the key is missing.
func (l *Limit) byAddress(values []string) bool {
	if len(l.Key) == 1 && l.Key[0].Kind == SourceClientIP || len(values) != len(l.Key) {
		return true
	}
	for i, s := range l.Key {
		if s.Kind != SourceClientIP && values[i] == "" {
			return true
		}
	}
	return false
}

func (c *combined) matches(client netip.Addr, values []string) bool {
	for i, part := range c.parts {
		if part != "" && part != values[i] {
			return false
		}
	}
	return !c.client.IsValid() || c.client.Contains(client)
}

// prefixTable finds the most specific of its address blocks that holds an
// address: one look-up for each length of block in it. The zero value is empty.
type prefixTable[V any] struct {
	values  map[netip.Prefix]V
	lengths []int // of the blocks, the longest first
}

// newPrefixTable makes a table of masked blocks.
func newPrefixTable[V any](values map[netip.Prefix]V) prefixTable[V] {
	lengths := map[int]bool{}
	for block := range values {
		lengths[block.Bits()] = true
	}
	return prefixTable[V]{values, slices.SortedFunc(maps.Keys(lengths), func(a, b int) int { return b - a })}
}

func (t *prefixTable[V]) find(a netip.Addr) (v V, ok bool) {
	a = plain(a)
	for _, bits := range t.lengths {
		if block, err := a.Prefix(bits); err == nil {
			if v, ok = t.values[block]; ok {
				return v, true
			}
		}
	}
	return v, false
}

// plain is an address as blocks are written: not mapped, without a zone.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
