// Package drill proves the failover on gateway processes: it sends traffic
// through three of them, breaks their Redis in one way after the other, and
// judges what clients and the backend saw. It knows a gateway by its URL and by
// what its admin listener says of Redis.
package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// gateways is how many share a Redis.
const gateways = 3

// Config configures a drill. Of Limits, Program, Length, Seed and Say are read, and
// required; of Redis all, and all are required but for what says otherwise.
type Config struct {
	Program string        // the gateway
	Length  time.Duration // begin no fault after this time; of Redis, 0: play all in order, and else in one drawn by Seed
	Seed    uint64        // of the traffic, and of the order of faults
	Say     func(event string)

	Policy []byte        // what the gateway serves
	Vars   []string      // in its environment, NAME=value; may be empty
	Redis  string        // URL of the Redis to stand before; "": one of the drill's own
	Faults []string      // by name, in order; none: all
	Each   time.Duration // how long a fault lasts, and the time before it
	Budget time.Duration // the most that a request waits for Redis
	Rate   int           // requests a second
}

// Fault is one way in which Redis fails.
type Fault struct {
	Name, Description string
	Before            func()       // called before the time in which nothing is broken; nil: nothing
	Start             func()       // does not wait for what it brings about
	End               func()       // nil: nothing is broken once Start has returned, but data is gone
	Check             func() error // looks for what no client may see once all use Redis again; nil: nothing
	Fill              bool         // meanwhile, lists come of which nobody has asked before
	Steady            bool         // Redis is of no use all the time, until End
	Late              bool         // answers come after Redis was given up
	Loss              bool         // Redis does not hold afterwards what it held
	NeverFor          string       // Redis must not be given up for a reason that contains this; "": any will do
	Skip              string       // why it cannot be played; "": it can
}

// fleet is the gateways of a drill.
type fleet []*gateway

// outage is how a fleet took a fault.
type outage struct {
	from, whole, to time.Time // broken, whole again, and settled

	trips     int           // the most often that one gave Redis up
	again     int           // the same, while it was broken
	trip      time.Duration // until it was first given up; 0: it was not
	returned  time.Duration // from when Redis was whole until the last used it for good; 0: it was in use then
	apart     time.Duration // from the first that used it again to the last, each by its first time
	unsettled time.Duration // that some used it while what others had admitted alone was not there
	tripped   int           // gateways that gave Redis up
	misled    int           // times that one took Redis for whole while it was not
	late      int           // answers that were dropped since they came late
	losses    int           // times that Redis was found to have lost data
	reasons   []string      // for which it was given up
}

const (
	// returnLimit is how long the gateways may take to use a Redis that is whole
	// again: one that keeps coming and going is left alone for some seconds.
	returnLimit = 15 * time.Second
	// together is how far apart gateways on one Redis may use it again.
	together = 500 * time.Millisecond
	// settleTime is how long after its return a gateway has brought what it admitted
	// alone in its last moments, with what a decision takes.
	settleTime = 150 * time.Millisecond
	// pollEvery is the time between two looks at the gateways.
	pollEvery = 50 * time.Millisecond
)

// errNotUp says that a gateway did not use Redis when it was whole, so that there
// was nothing to break.
var errNotUp = errors.New("not every gateway uses Redis though nothing is broken")

// errNotBack says that one did not use it after a fault.
var errNotBack = fmt.Errorf("not every gateway used Redis again within %s", returnLimit)

// play breaks Redis for a time, makes it whole again, and waits until all
// gateways use it. However little time is left, what was broken is mended.
func (f fleet) play(ctx context.Context, fault Fault, length time.Duration) (o outage, err error) {
	before, err := f.statuses()
	if err != nil {
		return o, err
	}
	o.from = time.Now()
	fault.Start()
	o.whole = o.from
	_ = sleep(ctx, length) // the drill ends with this fault where it returns early
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

// awaitUp waits until all gateways use Redis and done is content, for some looks
// in a row: one that has not given Redis up yet may still be about to. A nil done
// is content.
func (f fleet) awaitUp(done func([]status) bool) error {
	steady := 0
	for deadline := time.Now().Add(returnLimit); steady < 5; time.Sleep(pollEvery) {
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

// measure reads from the gateways' histories how they took the fault. It reports
// whether those that must have come back have.
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
			return false // it has not found out yet
		} // else it never gave Redis up, or came back while it was broken
	}
	if len(downs) > 0 {
		o.trip = first(downs).Sub(o.from)
	}
	if o.tripped == 0 {
		return true
	}
	o.returned, o.apart = last(settled).Sub(o.whole), last(returns).Sub(first(returns))
	o.unsettled = o.returned + settleTime // where others used it all the time
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
