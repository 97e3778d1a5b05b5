// Package drill proves the failover on gateway processes: it sends traffic
// through three of them, breaks their Redis in one way after the other, and
// judges what clients and the backend saw. It knows a gateway by its URL and by
// what its admin listener says of Redis.
package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// gateways is how many share a Redis.
const gateways = 3

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

// ErrNotUp says that a gateway did not use Redis when it was whole, so that there
// was nothing to break.
var ErrNotUp = errors.New("not every gateway uses Redis though nothing is broken")

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
	if errors.Is(err, ErrNotUp) {
		err = errNotBack
	}
	time.Sleep(2 * settleTime)
	o.to = time.Now()
	return o, err
}

// awaitUp waits until all gateways use Redis and done is content, for some looks
// in a row: one that has not given Redis up yet may still be about to.
func (f fleet) awaitUp(done func([]status) bool) error {
	steady := 0
	for deadline := time.Now().Add(returnLimit); time.Now().Before(deadline); time.Sleep(pollEvery) {
		all, err := f.statuses()
		if err != nil {
			return err
		}
		if !allUp(all) || !done(all) {
			steady = 0
			continue
		}
		if steady++; steady == 5 {
			return nil
		}
	}
	return ErrNotUp
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

func allUp(all []status) bool {
	for _, s := range all {
		if s.State != "up" {
			return false
		}
	}
	return true
}

// measure reads from the gateways' histories how they took the fault. It reports
// whether those that must have come back have.
func (o *outage) measure(fault Fault, before, after []status) (done bool) {
	*o = outage{from: o.from, whole: o.whole}
	var first, last, settled, rejoining, down time.Time
	for i, s := range after {
		back, up := o.follow(s.History, &down, &rejoining)
		o.late += s.Counts.Late - before[i].Counts.Late
		o.losses += s.Counts.Losses - before[i].Counts.Losses
		if up.IsZero() {
			if fault.End == nil {
				return false // it has not found out yet
			}
			continue // it never gave Redis up, or came back while it was broken
		}
		o.tripped++
		if first.IsZero() || back.Before(first) {
			first = back
		}
		if back.After(last) {
			last = back
		}
		if up.After(settled) {
			settled = up
		}
	}
	if !down.IsZero() {
		o.trip = down.Sub(o.from)
	}
	if o.tripped == 0 {
		return true
	}
	o.returned, o.apart, o.unsettled = settled.Sub(o.whole), last.Sub(first), settled.Sub(rejoining)
	if o.tripped < len(after) {
		o.unsettled = o.returned // the others used it all the time
	}
	o.unsettled += settleTime
	return true
}

// follow reads the changes of one gateway since the fault began: when it was back
// after Redis was whole, and when it was up for good; zero: it was not away then.
// down and rejoining become the first times at which any gateway was so.
func (o *outage) follow(history []change, down, rejoining *time.Time) (back, up time.Time) {
	earliest := func(t *time.Time, at time.Time) {
		if t.IsZero() || at.Before(*t) {
			*t = at
		}
	}
	trips, again := 0, 0
	for _, c := range history {
		switch {
		case c.At.Before(o.from):
		case c.To == "down" && c.From == "up":
			trips++
			if c.At.Before(o.whole) {
				again++
			}
			earliest(down, c.At)
			o.reasons = append(o.reasons, c.Reason)
		case c.To == "rejoining" && c.At.Before(o.whole):
			o.misled++
		case c.To == "rejoining":
			earliest(rejoining, c.At)
		case c.To == "up" && c.At.After(o.whole):
			earliest(&back, c.At)
			up = c.At
		}
	}
	o.trips, o.again = max(o.trips, trips), max(o.again, again)
	return back, up
}

// Run calls play with a T outside of a test: servers that play starts end when it
// does, and what fails there is the error. The T's folder is gone afterwards.
func Run(play func(t env.T) error) (err error) {
	dir, err := os.MkdirTemp("", "gateway-drill-")
	if err != nil {
		return err
	}
	b := &bench{dir: dir}
	defer func() {
		for _, end := range slices.Backward(b.ends) {
			end()
		}
		err = errors.Join(err, b.err, os.RemoveAll(dir))
	}()
	defer func() {
		if failure, ok := recover().(fatal); ok {
			err = failure
		}
	}()
	return play(b)
}

// bench is an env.T outside of a test, for one goroutine.
type bench struct {
	dir  string
	dirs int
	ends []func()
	err  error
}

// fatal is what bench panics with, since Fatal may not return.
type fatal struct{ error }

func (b *bench) Helper()                           {}
func (b *bench) Cleanup(end func())                { b.ends = append(b.ends, end) }
func (b *bench) Error(args ...any)                 { b.err = errors.Join(b.err, errors.New(fmt.Sprint(args...))) }
func (b *bench) Errorf(format string, args ...any) { b.Error(fmt.Sprintf(format, args...)) }
func (b *bench) Fatal(args ...any)                 { panic(fatal{errors.New(fmt.Sprint(args...))}) }
func (b *bench) Fatalf(format string, args ...any) { b.Fatal(fmt.Sprintf(format, args...)) }

// TempDir is a new folder.
func (b *bench) TempDir() string {
	b.dirs++
	dir := fmt.Sprint(b.dir, "/", b.dirs)
	if err := os.Mkdir(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	return dir
}

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
