package policy

import (
	"time"

	"github.com/jewgo/gateway/internal/gcra"
)

// longestLimit bounds how far a limit's state may lie in the future, so that
// nanoseconds since 1970 stay far from the end of an int64.
const longestLimit = 10 * 365 * 24 * time.Hour

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
		Cost:       def.Cost,
		IPv6Prefix: def.IPv6Prefix,
		Shadow:     def.Shadow,
		Lease:      def.Lease,
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
	if def.Burst == 0 {
		def.Burst = def.Rate.Tokens
	}
	l.Quota = gcra.Quota{Rate: def.Rate.Tokens, Period: def.Rate.Period, Burst: def.Burst}
	if l.Quota.Rate > 0 && !c.typos[path] && c.sound(join(path, "burst"), join(path, "cost"), join(path, "lease")) {
		c.quota(path, l)
	}
	return l
}

func (c *compiler) quota(path string, l *Limit) {
	q := l.Quota
	if l.Cost > q.Burst {
		c.invalid(join(path, "cost"), "cost %d is more than the burst of %d: no request would pass", l.Cost, q.Burst)
	}
	if l.Lease > q.Burst {
		c.invalid(join(path, "lease"), "lease %d is more than the burst of %d", l.Lease, q.Burst)
	}
	if int64(q.Burst) > int64(longestLimit/q.Interval()) {
		c.invalid(join(path, "burst"), "a burst of %d at this rate takes more than ten years to come back", q.Burst)
	}
}
