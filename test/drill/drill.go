// Package drill proves the failover on gateway processes: it sends traffic through three of them,
// breaks their Redis in one way after another, and judges what clients and the backend saw. It only
// uses a gateway's URL, and the Redis status of its admin listener.
package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// gateways is how many gateways share the Redis.
const gateways = 3

// Config configures a drill. Limits uses, and requires, Program, Length, Seed and Say. Redis uses all
// fields and requires those without a documented default.
type Config struct {
	Program string        // the gateway
	Length  time.Duration // start no fault after this time, in an order drawn by Seed; 0, only for Redis: play all in order
	Seed    uint64        // of the traffic, and of the order of faults
	Say     func(event string)

	Policy []byte        // of the gateways
	Vars   []string      // of their environment, NAME=value; may be empty
	Redis  string        // URL of the Redis to use; "": start one
	Faults []string      // names, in order; none: all
	Each   time.Duration // how long a fault lasts, and the pause before it
	Budget time.Duration // longest wait of a request for Redis
	Rate   int           // requests per second
}

// Fault is one way in which Redis fails.
type Fault struct {
	Name, Description string
	Before            func()       // called before the healthy pause; nil: nothing to do
	Start             func()       // does not wait for the effects
	End               func()       // nil: after Start nothing is broken any more, but data is lost
	Check             func() error // finds what no client may see once all use Redis again; nil: no check
	Fill              bool         // requests for new lists come meanwhile
	Steady            bool         // Redis is unusable all the time, until End
	Late              bool         // replies come after Redis was given up
	Loss              bool         // Redis loses data
	NeverFor          string       // Redis must not be given up for a reason that contains this; "": any reason is fine
	Skip              string       // why it cannot be played; "": it can
}

// fleet is the gateways of a drill.
type fleet []*gateway

// outage is how a fleet took a fault.
type outage struct {
	from, whole, to time.Time // Redis broken, whole again, and all settled

	trips     int           // how often a gateway gave Redis up, at most
	again     int           // the same, while it was broken
	trip      time.Duration // until it was first given up; 0: it was not
	returned  time.Duration // from whole until the last gateway used Redis for good; 0: it was in use then
	apart     time.Duration // between the first gateway's first use of Redis after whole, and the last one's
	unsettled time.Duration // how long some used Redis while charges of others were not settled
	tripped   int           // gateways that gave Redis up
	misled    int           // times that a gateway took a broken Redis for whole
	late      int           // late replies that were dropped
	losses    int           // times that a gateway noticed a loss of data
	reasons   []string      // for giving Redis up
}

const (
	// returnLimit is how long the gateways may take to use a Redis that is whole again: a flapping one
	// is left alone for some seconds.
	returnLimit = 15 * time.Second
	// startLimit is how long gateways may take to use Redis while nothing is broken, which judges only
	// the machine.
	startLimit = time.Minute
	// together is how far apart gateways may start to use Redis again.
	together = 500 * time.Millisecond
	// settleTime is how long a gateway takes after its return to settle its last charges, including the
	// time of a decision.
	settleTime = 150 * time.Millisecond
	// pollEvery is the time between two polls of the gateways.
	pollEvery = 50 * time.Millisecond
)

// errNotUp means that a gateway did not use a healthy Redis, so that there was nothing to break.
var errNotUp = errors.New("not every gateway uses Redis though nothing is broken")

// errNotBack means that a gateway did not use Redis again after a fault.
var errNotBack = fmt.Errorf("not every gateway used Redis again within %s", returnLimit)

// play breaks Redis for a time, makes it whole again, and waits until all gateways use it. The fault
// is ended even if ctx is done.
func (f fleet) play(ctx context.Context, fault Fault, length time.Duration) (o outage, err error) {
	before, err := f.statuses()
	if err != nil {
		return o, err
	}
	o.from = time.Now()
	fault.Start()
	o.whole = o.from
	_ = sleep(ctx, length) // if it returns early, the drill ends with this fault
	if fault.End != nil {
		o.whole = time.Now()
		fault.End()
	}
	err = f.awaitUp(func(all []status) bool { return o.measure(fault, before, all) })
	if errors.Is(err, errNotUp) {
		err = errNotBack
	}
	time.Sleep(2 * settleTime)
	o.to = time.Now()
	return o, err
}

// awaitUp waits until all gateways use Redis and done, if any, returns true, for five polls in a row:
// a gateway that has not given Redis up yet may be about to.
func (f fleet) awaitUp(done func([]status) bool) error {
	steady, limit := 0, returnLimit
	if done == nil {
		limit = startLimit
	}
	for deadline := time.Now().Add(limit); steady < 5; time.Sleep(pollEvery) {
		all, err := f.statuses()
		switch {
		case err != nil:
			return err
		case time.Now().After(deadline):
			return errNotUp
		case slices.ContainsFunc(all, func(s status) bool { return s.State != "up" }), done != nil && !done(all):
			steady = 0
		default:
			steady++
		}
	}
	return nil
}

func (f fleet) statuses() (all []status, err error) {
	for _, g := range f {
		s, err := g.status()
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// measure reads from the gateways' histories how they handled the fault. It reports whether all that
// must return to Redis have.
func (o *outage) measure(fault Fault, before, after []status) (done bool) {
	*o = outage{from: o.from, whole: o.whole}
	var downs, rejoins, returns, settled []time.Time // settled: for good
	for i, s := range after {
		trips, again := 0, 0
		var ups []time.Time // after Redis was whole
		for _, c := range s.History {
			switch {
			case c.At.Before(o.from):
			case c.To == "down" && c.From == "up":
				trips++
				if c.At.Before(o.whole) {
					again++
				}
				downs, o.reasons = append(downs, c.At), append(o.reasons, c.Reason)
			case c.To == "rejoining" && c.At.Before(o.whole):
				o.misled++
			case c.To == "rejoining":
				rejoins = append(rejoins, c.At)
			case c.To == "up" && c.At.After(o.whole):
				ups = append(ups, c.At)
			}
		}
		o.trips, o.again = max(o.trips, trips), max(o.again, again)
		o.late += s.Counts.Late - before[i].Counts.Late
		o.losses += s.Counts.Losses - before[i].Counts.Losses
		switch {
		case len(ups) > 0:
			o.tripped++
			returns, settled = append(returns, ups[0]), append(settled, ups[len(ups)-1])
		case fault.End == nil:
			return false // it has not noticed yet
		} // else it never gave Redis up, or returned while Redis was broken
	}
	if len(downs) > 0 {
		o.trip = first(downs).Sub(o.from)
	}
	if o.tripped == 0 {
		return true
	}
	o.returned, o.apart = last(settled).Sub(o.whole), last(returns).Sub(first(returns))
	o.unsettled = o.returned + settleTime // if others used it all the time
	if o.tripped == len(after) && len(rejoins) > 0 {
		o.unsettled = last(settled).Sub(first(rejoins)) + settleTime
	}
	return true
}

func first(times []time.Time) time.Time { return slices.MinFunc(times, time.Time.Compare) }

func last(times []time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
