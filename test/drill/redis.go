package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/jewgo/gateway/internal/redisurl"
	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/faultproxy"
)

const (
	// slower is how much the percentiles may rise while Redis is unavailable.
	slower = 10 * time.Millisecond
	// fewerHits is how much the hit ratio may fall: entries in memory stay.
	fewerHits = 0.15
	// fillShare divides the rate for fill requests, which all reach the backend on the same machine.
	fillShare = 10
)

// RedisFaults returns all faults, for a list of names.
func RedisFaults() []Fault { return redisFaults(nil, nil, &eviction{}) }

// redisFaults returns all faults of the proxy and of the Redis in e. Without that Redis, its faults
// are skipped.
func redisFaults(t env.T, proxy *faultproxy.Proxy, e *eviction) []Fault {
	own := append(serverFaults(e.redis), e.fault(), full(e.redis))
	for i := range own {
		if proxy != nil && e.redis == nil {
			own[i].Skip = notOwn
		}
	}
	return append(proxyFaults(t, proxy), own...)
}

// Redis plays the faults under traffic, and judges what clients saw. A fault that fails only because
// requests were slow is played once more, and the second result counts: the machine may have been
// busy.
func Redis(ctx context.Context, t env.T, cfg Config) (Report, error) {
	d := &redisDrill{Config: cfg}
	faults, err := d.setUp(t)
	if err != nil {
		return Report{}, err
	}
	d.deadline = time.Now().Add(longest)
	if cfg.Length > 0 {
		d.deadline = time.Now().Add(cfg.Length)
		faults = shuffled(faults, rand.New(rand.NewPCG(cfg.Seed, 0)))
	}
	cfg.Say(fmt.Sprintf("seed %d, %d requests a second, %v a fault, %d gateways", cfg.Seed, cfg.Rate, cfg.Each, len(d.fleet)))
	stop := attack(d.mix.Target, vegeta.Rate{Freq: cfg.Rate, Per: time.Second}, d.samples.add)
	defer stop()
	rows, err := d.run(ctx, faults)
	if err != nil {
		return Report{}, err
	}
	return Report{Seed: cfg.Seed, Rate: cfg.Rate, Each: inMS(cfg.Each), Passed: passed(rows), Rows: rows}, nil
}

// redisDrill is a running Redis.
type redisDrill struct {
	Config
	fleet   fleet
	mix     *Mix
	samples samples
	healthy []span // when nothing was broken

	deadline time.Time // for the start of a fault
}

// setUp starts all servers, and returns the faults to play.
func (d *redisDrill) setUp(t env.T) ([]Fault, error) {
	if _, err := choose(RedisFaults(), d.Faults); err != nil {
		return nil, err
	}
	redis, target, through, err := d.server(t)
	if err != nil {
		return nil, err
	}
	proxy, err := faultproxy.Listen(target)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = proxy.Close() }) // it never fails
	through.Scheme, through.Host = "redis", proxy.Addr()
	canary := newCanary(t)
	site := newSite(t, d.Program, d.Policy, through.String(), fmt.Sprintf(canaryPolicy, canary.url), d.Vars...)
	d.fleet = site.fleet()
	var bases []string
	for _, g := range d.fleet {
		bases = append(bases, g.url)
	}
	cookies := login(d.fleet[0])
	d.mix = NewMix(bases, cookies, d.Seed)
	e := &eviction{canary: canary, site: site, fleet: d.fleet, redis: redis, cookies: cookies}
	return choose(redisFaults(t, proxy, e), d.Faults)
}

// server finds the Redis behind the proxy, or starts one. own is nil if it is not the drill's own.
// through is a URL with its database and user.
func (d *redisDrill) server(t env.T) (own *env.RedisServer, target string, through url.URL, err error) {
	if redisurl.None(d.Config.Redis) {
		own = env.Redis(t, "--maxmemory-policy", "noeviction")
		return own, own.Addr, url.URL{Path: "/0"}, nil
	}
	behind, err := redisurl.Parse(d.Config.Redis)
	switch {
	case err != nil:
		return nil, "", through, fmt.Errorf("redis: %w", err)
	case behind.Cluster || behind.Service != "" || behind.TLS:
		return nil, "", through, errors.New("a drill needs one Redis without TLS; name another with --redis")
	}
	if target = behind.Addrs[0]; filepath.IsAbs(target) {
		target = "unix:" + target
	}
	through.Path = "/" + strconv.Itoa(behind.DB)
	if behind.User != "" || behind.Password != "" {
		through.User = url.UserPassword(behind.User, behind.Password)
	}
	return nil, target, through, nil
}

// run plays one fault after another, until none can start before the deadline.
func (d *redisDrill) run(ctx context.Context, faults []Fault) (rows []Row, err error) {
	rows = []Row{}
	// The first seconds fill caches and pools, and are not measured.
	if err := d.fleet.awaitUp(nil); err != nil || !sleep(ctx, d.Each) {
		return rows, errors.Join(err, ctx.Err())
	}
	for _, f := range faults {
		if f.Skip != "" {
			rows = append(rows, Row{Fault: f.Name, Description: f.Description, Verdict: "skipped", Problems: []string{}, Skipped: f.Skip})
			continue
		}
		if time.Now().Add(d.Each).After(d.deadline) {
			break
		}
		row, slow, err := d.playOne(ctx, f)
		if err == nil && slow && len(row.Problems) == 1 {
			d.Say(f.Name + ", again: " + row.Problems[0])
			row, _, err = d.playOne(ctx, f)
		}
		if err != nil {
			return rows, fmt.Errorf("%s: %w", f.Name, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// playOne plays one fault, after a healthy pause.
func (d *redisDrill) playOne(ctx context.Context, f Fault) (_ Row, slow bool, err error) {
	if f.Before != nil {
		f.Before()
	}
	if err := d.fleet.awaitUp(nil); err != nil {
		return Row{}, false, err
	}
	before := span{from: time.Now()}
	if !sleep(ctx, d.Each) {
		return Row{}, false, ctx.Err()
	}
	before.to = time.Now()
	d.healthy = append(d.healthy, before)
	d.Say(f.Name)
	stop := func() {}
	if f.Fill {
		stop = attack(d.mix.fill, vegeta.Rate{Freq: max(1, d.Rate/fillShare), Per: time.Second}, d.samples.add)
	}
	o, err := d.fleet.play(ctx, f, d.Each)
	stop()
	if err != nil && !errors.Is(err, errNotBack) {
		return Row{}, false, err
	}
	var seen error
	if f.Check != nil && err == nil {
		seen = f.Check()
	}
	time.Sleep(4 * d.Budget) // until pending requests have ended
	row := Row{Fault: f.Name, Description: f.Description}
	row.measure(d.samples.soFar(), d.healthy, o, d.Budget)
	slow = row.judge(f, o, d.Budget, errors.Join(err, seen))
	return row, slow, nil
}

// measure fills in the figures.
func (r *Row) measure(all []sample, healthy []span, o outage, budget time.Duration) {
	end := o.whole
	if end.Equal(o.from) { // there was nothing to repair
		end = o.to
	}
	r.Healthy = figures(all, healthy...)
	r.Broken = figures(all, span{o.from, end})
	// Requests that are pending when Redis stops answering, and those that come before it is given up,
	// may each wait for the whole budget.
	settled := figures(all, span{o.from.Add(2 * budget), end})
	r.Broken.P50, r.Broken.P99 = settled.P50, settled.P99
	r.Trips, r.Trip, r.Return, r.Apart = o.trips, met(o.trip), met(o.returned), met(o.apart)
}

// judge fills in the row's problems; seen is an error that was found besides. It reports whether
// requests were too slow.
func (r *Row) judge(f Fault, o outage, budget time.Duration, seen error) (slow bool) {
	allowed := inMS(slower)
	if !f.Steady {
		allowed += inMS(budget) // each request may wait for it
	}
	p50, p99 := r.Broken.P50-r.Healthy.P50, r.Broken.P99-r.Healthy.P99
	apart := o.apart.Round(time.Millisecond)
	never := slices.DeleteFunc(slices.Clone(o.reasons), func(reason string) bool {
		return f.NeverFor == "" || !strings.Contains(reason, f.NeverFor)
	})
	r.Problems = problems(
		when(r.Broken.Failed > 0, "%d requests failed, the first: %s", r.Broken.Failed, r.Broken.first),
		when(p50 > allowed, "p50 rose by %s, allowed %s", p50, allowed),
		when(p50 <= allowed && p99 > allowed, "p99 rose by %s, allowed %s", p99, allowed),
		when(r.Broken.HitRatio < r.Healthy.HitRatio-fewerHits, "the hit ratio fell from %.2f to %.2f", r.Healthy.HitRatio, r.Broken.HitRatio),
		when(f.Steady && o.again > 1, "Redis was given up %d times though it was broken all the time", o.again),
		when(f.Steady && o.misled > 0, "Redis was taken for whole %d times though it was broken all the time", o.misled),
		when(f.Steady && o.tripped < gateways && seen == nil, "not every gateway gave Redis up"),
		when((f.Steady || f.Loss) && o.apart > together, "the last gateway used Redis %s after the first, allowed %s", apart, together),
		when(f.Late && o.late == 0, "no late answer was dropped"),
		when(f.Loss && o.losses < gateways, "gateways noticed %d times that Redis had lost data, want %d", o.losses, gateways),
		when(seen != nil, "%v", seen),
		when(len(never) > 0, "Redis was given up for a reason that must not occur: %s", strings.Join(never, "; ")),
	)
	r.Verdict = strings.ToLower(verdict(r.Problems))
	return p50 > allowed || p99 > allowed
}

// passed reports whether rows were played and none failed.
func passed(rows []Row) (some bool) {
	for _, r := range rows {
		if r.Verdict == "fail" {
			return false
		}
		some = some || r.Verdict == "pass"
	}
	return some
}
