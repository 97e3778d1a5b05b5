// Package drill proves the failover on a running gateway: it sends traffic,
// breaks what lies between gateway and Redis in one way after the other, and
// judges what the clients saw. It knows the gateway by its URL and by the
// state of its Switch, and Redis by the proxy that stands before it.
package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/jewgo/gateway/internal/failover"
)

const (
	// returnLimit is how long a gateway may take to use a Redis that is whole again.
	returnLimit = 8 * time.Second
	// together is how far apart gateways on one Redis may use it again.
	together = 500 * time.Millisecond
	// moreShare is the part of the rate at which further traffic comes: it is all for
	// the backend, which shares the machine.
	moreShare = 10
)

// Config configures a drill; all of it is required.
type Config struct {
	Target    vegeta.Targeter
	Rate      int // requests a second
	Status    func() failover.Status
	Scenarios []Scenario
	Each      time.Duration         // how long a scenario lasts, and the time before it
	Budget    time.Duration         // the most that a request waits for Redis
	Progress  func(scenario string) // told when one begins
}

// ErrNotUp says that the gateway did not use Redis when it was whole, so that
// there was nothing to break.
var ErrNotUp = errors.New("the gateway does not use Redis though nothing is broken")

// Run plays all scenarios, or as many as begin before ctx is done, and judges
// them. One that fails for the time that requests took is played once more, and
// the second time counts: the machine may have been busy with something else.
func Run(ctx context.Context, cfg Config) ([]Row, error) {
	d := &drill{Config: cfg, traffic: startTraffic(cfg.Target, cfg.Rate)}
	defer d.traffic.stop()
	// The first seconds fill caches and pools, and count for nothing.
	if !d.awaitUp(nil) || !sleep(ctx, cfg.Each) {
		return nil, ErrNotUp
	}
	var rows []Row
	for _, s := range cfg.Scenarios {
		if s.Skip != "" {
			rows = append(rows, Row{Scenario: s})
			continue
		}
		row, err := d.play(ctx, s)
		if err == nil && row.slow && len(row.Problems) == 1 {
			cfg.Progress(s.Name + ", again: " + row.Problems[0])
			row, err = d.play(ctx, s)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// drill is a Config at work.
type drill struct {
	Config
	traffic *traffic
	healthy []span // when nothing was broken
}

// play plays one scenario, after a time in which nothing is broken.
func (d *drill) play(ctx context.Context, s Scenario) (Row, error) {
	others, end, err := d.others(s)
	if err != nil {
		return Row{}, err
	}
	defer end()
	if !d.awaitUp(others) {
		return Row{}, ErrNotUp
	}
	before := span{from: time.Now()}
	if !sleep(ctx, d.Each) {
		return Row{}, context.DeadlineExceeded
	}
	before.to = time.Now()
	d.healthy = append(d.healthy, before)
	d.Progress(s.Name)
	row := Row{Scenario: s}
	if err := d.breakAndHeal(&row, others); err != nil {
		return Row{}, err
	}
	if s.Check != nil && row.returned {
		row.seen = s.Check()
	}
	time.Sleep(4 * d.Budget) // what was under way at the end is over then
	row.measure(d.traffic.soFar(), d.healthy, d.Config)
	row.add(row.more)
	for _, o := range others {
		row.add(figures(o.traffic.soFar(), func(s sample) bool { return row.during.holds(s.at) }))
	}
	row.judge(d.Config)
	return row, nil
}

// other is a Gateway with traffic of its own.
type other struct {
	Gateway
	traffic *traffic
}

// others prepares a scenario, and sends some traffic through the gateways that
// this brings; end stops all of that.
func (d *drill) others(s Scenario) (others []other, end func(), err error) {
	if s.Prepare == nil {
		return nil, func() {}, nil
	}
	gateways, release, err := s.Prepare()
	if err != nil {
		return nil, nil, err
	}
	for _, g := range gateways {
		others = append(others, other{g, startTraffic(g.Target, max(1, d.Rate/4))})
	}
	return others, func() {
		for _, o := range others {
			o.traffic.stop()
		}
		release()
	}, nil
}

// breakAndHeal breaks Redis and makes it whole again, however little time is left:
// what was broken is always healed.
func (d *drill) breakAndHeal(row *Row, others []other) error {
	before := d.Status()
	row.during.from = time.Now()
	if err := row.Scenario.Start(); err != nil {
		return err
	}
	more := d.more(row.Scenario)
	time.Sleep(d.Each)
	row.during.to = time.Now()
	then := d.Status()
	row.Trips = int(then.Counts.Trips - before.Counts.Trips)
	for _, c := range then.History {
		if c.To == failover.Rejoining && row.during.holds(c.At) {
			row.misled++
		}
	}
	healed := time.Now()
	if err := row.Scenario.End(); err != nil {
		return err
	}
	row.more = more()
	row.returned = d.awaitUp(others)
	after := d.Status()
	row.late = after.Counts.Late - before.Counts.Late
	row.losses = after.Counts.Losses - before.Counts.Losses
	for _, c := range after.History {
		switch {
		case c.To == failover.Down && c.At.After(row.during.from):
			row.givenUp(c)
		case c.To == failover.Up && c.At.After(healed) && row.Return == 0:
			row.Return = c.At.Sub(healed)
		}
	}
	row.compareReturns(healed, others)
	return nil
}

// more starts the further traffic of a scenario; end ends it and returns what it
// saw.
func (d *drill) more(s Scenario) (end func() Figures) {
	if s.More == nil {
		return func() Figures { return Figures{} }
	}
	t := startTraffic(s.More().Fill, max(1, d.Rate/moreShare))
	return func() Figures {
		t.stop()
		return figures(t.soFar(), func(sample) bool { return true })
	}
}

// compareReturns finds out how far apart the gateways came to use Redis again:
// from the first to the last, each by the first time that it did.
func (r *Row) compareReturns(healed time.Time, others []other) {
	first, last := r.Return, r.Return
	for _, o := range others {
		returned := time.Duration(0)
		for _, c := range o.Status().History {
			if c.To == failover.Up && c.At.After(healed) {
				returned = c.At.Sub(healed)
				break
			}
		}
		first, last = min(first, returned), max(last, returned)
	}
	if first == 0 && len(others) > 0 {
		r.unhurt = true
		return
	}
	r.Apart = last - first
}

// awaitUp waits until Redis is used by all gateways.
func (d *drill) awaitUp(others []other) bool {
	up := func() bool {
		return d.Status().State == failover.Up &&
			!slices.ContainsFunc(others, func(o other) bool { return o.Status().State != failover.Up })
	}
	for deadline := time.Now().Add(returnLimit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if up() {
			return true
		}
	}
	return false
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
