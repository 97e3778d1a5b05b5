package policy

import (
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
	Lease      int    // most tokens prepaid for one key; 0: none, never 1
	InFlight   int    // most requests at once, for each key and gateway; 0: Quota limits
	Tiers      []Tier // the most generous first

	cost      int            // of methods without one of their own; 0 counts as 1
	costs     map[string]int // by method
	overrides overrides
	lists     prefixTable[Verdict]
	statuses  statusSet
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

// Caller is what limits know of whoever sent a request.
type Caller struct {
	Client  netip.Addr // invalid: unknown, as for a peer on a unix socket
	Session bool
	User    string // "": a guest, or nobody
	Roles   []string
}

// Tier is what callers of one kind have.
type Tier struct {
	Name  string
	Quota gcra.Quota
}

// The tiers that are no roles. A role of such a name does not count as one: what
// a session is, its roles cannot change.
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
	if n := l.costs[method]; n > 0 {
		return n
	}
	return max(1, l.cost)
}

// QuotaOf gives the quota of a caller's bucket: the override of its key, else the
// most generous tier that applies, else the limit's own.
//
// values are the values of l.Key, in its order; what stands for client_ip is not
// looked at, since who.Client says it. Without values, or with one that is empty,
// the caller is counted by its address for lack of the key. HasOverrides tells
// whether they are worth collecting.
func (l *Limit) QuotaOf(who Caller, values ...string) gcra.Quota {
	_, q := l.TierOf(who, values...)
	return q
}

// TierOf is as QuotaOf, and names the tier that the quota is of; "": it is of the
// key's override or the limit's own. A key has a bucket for each, since a bucket
// must be of one quota: another one that fills sooner would draw in what was
// charged.
func (l *Limit) TierOf(who Caller, values ...string) (tier string, q gcra.Quota) {
	if q, ok := l.override(who.Client, values); ok {
		return "", q
	}
	for i := range l.Tiers {
		if l.Tiers[i].applies(&who) {
			return l.Tiers[i].Name, l.Tiers[i].Quota
		}
	}
	return "", l.Quota
}

// OverrideOf gives the quota of the override that a key has; values are as in
// QuotaOf.
func (l *Limit) OverrideOf(client netip.Addr, values ...string) (gcra.Quota, bool) {
	return l.override(client, values)
}

// HasOverrides reports whether QuotaOf looks at the key's values at all.
func (l *Limit) HasOverrides() bool { return l.overrides.any() }

// Verdict looks an address up in the allow and deny lists, where the most
// specific block wins.
func (l *Limit) Verdict(client netip.Addr) Verdict {
	v, _ := l.lists.find(client)
	return v
}

// ByStatus reports whether requests are counted when they have been answered,
// by their status, rather than when they arrive.
func (l *Limit) ByStatus() bool { return l.statuses != statusSet{} }

// CountsStatus reports whether a request that was answered with this status
// counts. Without ByStatus every request does.
func (l *Limit) CountsStatus(status int) bool { return !l.ByStatus() || l.statuses.has(status) }

// Most is how many requests of one key are admitted in any span of this length
// at most, by the most generous of the limit's quotas. It is 0 with InFlight,
// which bounds no rate. With ByStatus those in flight may come on top, since
// they are counted later.
func (l *Limit) Most(window time.Duration) int {
	most := mostTokens(l.Quota, window)
	for _, t := range l.Tiers {
		most = max(most, mostTokens(t.Quota, window))
	}
	for _, q := range l.overrides.quotas {
		most = max(most, mostTokens(q, window))
	}
	return most / max(1, l.cost)
}

// MostOf is as Most, for whom this one of the limit's quotas applies.
func (l *Limit) MostOf(q gcra.Quota, window time.Duration) int {
	return mostTokens(q, window) / max(1, l.cost)
}

// mostTokens is GCRA's bound: the burst at once, then one each interval.
func mostTokens(q gcra.Quota, window time.Duration) int {
	if q.Rate == 0 {
		return 0
	}
	return q.Burst + int(window/q.Interval())
}

// statusSet holds statuses below 640 as bits.
type statusSet [10]uint64

func (s *statusSet) add(status int) { s[status/64] |= 1 << (status % 64) }

func (s *statusSet) has(status int) bool {
	return status >= 0 && status < 64*len(s) && s[status/64]&(1<<(status%64)) != 0
}
