package ratelimit

import (
	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/policy"
)

// plan is what the limits of a route mean for one request.
type plan struct {
	limits  []*policy.Limit // limits[i] belongs to charges[i]
	charges []Charge
	flights []flight
	denied  *policy.Limit // refuses the request: the key is missing, or the address is on its deny list
	reason  string        // of denied

	skipped func(l *policy.Limit, why string) // is told of limits that do not count the request; nil: nobody asks

	// Room for what most routes need, without allocations of its own.
	room struct {
		limits   [2]*policy.Limit
		charges  [2]Charge
		results  [2]gcra.Result
		violated [2]string
	}
}

// flight is an in-flight limit and its key.
type flight struct {
	limit *policy.Limit
	key   string
}

// resolve finds the limits that apply to a request, and their buckets.
func (p *plan) resolve(ex *exchange.Exchange) {
	p.limits, p.charges = p.room.limits[:0], p.room.charges[:0]
	who := policy.Caller{
		Client: ex.View.Client, Session: !ex.Principal.Anonymous(), User: ex.Principal.User, Roles: ex.Principal.Roles,
	}
	for _, l := range ex.Route.Limits {
		switch l.Verdict(who.Client) { // the lists apply whatever When says
		case policy.Exempt:
			p.skip(l, "the address is exempt")
			continue
		case policy.Denied:
			if !l.Shadow {
				p.denied, p.reason = l, "address denied by limit"
				return
			}
			ex.Facts.Note("address denied by shadow limit " + l.Name)
			p.skip(l, "the address would be denied, were it no shadow")
			continue
		case policy.Counted:
		}
		if l.When == policy.Anonymous && who.Session || l.When == policy.WithSession && !who.Session {
			p.skip(l, [...]string{policy.Anonymous: "the request has a session", policy.WithSession: "the request has no session"}[l.When])
			continue
		}
		if !p.add(l, ex, who) {
			return
		}
	}
}

func (p *plan) skip(l *policy.Limit, why string) {
	if p.skipped != nil {
		p.skipped(l, why)
	}
}

// add plans one limit; false: the request is denied.
func (p *plan) add(l *policy.Limit, ex *exchange.Exchange, who policy.Caller) bool {
	var room [4]string
	parts, ok := values(l, ex, room[:0])
	switch {
	case ok, l.Missing == policy.MissingClientIP:
	case l.Missing == policy.MissingDeny && !l.Shadow:
		p.denied, p.reason = l, "limit key missing"
		return false
	default:
		if l.Missing == policy.MissingDeny {
			ex.Facts.Note("key of shadow limit " + l.Name + " missing")
		}
		p.skip(l, "the request lacks the key")
		return true
	}
	tier, quota := l.TierOf(who, parts...)
	var k string
	if ok {
		k = bucket{l, tier}.key(parts)
	} else {
		k = bucket{l, tier}.clientKey(who.Client)
	}
	if l.InFlight > 0 {
		p.flights = append(p.flights, flight{l, k})
		return true
	}
	p.limits = append(p.limits, l)
	p.charges = append(p.charges, Charge{
		Limit: l.Name, Key: k, Quota: quota, Cost: l.Cost(ex.View.Method), Lease: l.Lease, Shadow: l.Shadow,
	})
	return true
}
