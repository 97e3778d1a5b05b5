package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/jewgo/gateway/internal/redisurl"
	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/faultproxy"
)

const (
	// slower is how much the percentiles may rise while Redis does not answer.
	slower = 10 * time.Millisecond
	// fewerHits is how much the hit ratio may fall: what is in memory stays.
	fewerHits = 0.15
	// fillShare is the part of the rate at which further traffic comes: it is all for
	// the backend, which shares the machine.
	fillShare = 10
)

// RedisConfig configures a drill of Redis; all of it is required but for what says
// otherwise.
type RedisConfig struct {
	Program string        // the gateway
	Policy  []byte        // what it serves
	Vars    []string      // in its environment, NAME=value; may be empty
	Redis   string        // URL of the Redis to stand before; "": one of the drill's own
	Faults  []string      // by name, in order; none: all
	Length  time.Duration // begin no fault after this time, and draw their order; 0: all of them
	Each    time.Duration // how long a fault lasts, and the time before it
	Budget  time.Duration // the most that a request waits for Redis
	Rate    int           // requests a second
	Seed    uint64        // of the traffic and the order
	Say     func(event string)
}

// RedisFaults are all faults, for a list of names.
func RedisFaults() []Fault {
	own := append(serverFaults(nil), (&eviction{}).fault(), full(nil))
	return append(proxyFaults(nil, nil), own...)
}

// Redis plays the faults under traffic, and judges what clients saw. One that fails
// for the time alone that requests took is played once more, and the second time
// counts: the machine may have been busy with something else.
func Redis(ctx context.Context, t env.T, cfg RedisConfig) (Report, error) {
	d := &redisDrill{RedisConfig: cfg}
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

// redisDrill is a RedisConfig at work.
type redisDrill struct {
	RedisConfig
	fleet   fleet
	mix     *Mix
	samples samples
	healthy []span // when nothing was broken

	deadline time.Time // for the begin of a fault
}

// setUp starts all that takes part, and returns the faults to play.
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
	t.Cleanup(func() { _ = proxy.Close() }) // nothing is left to lose
	through.Scheme, through.Host = "redis", proxy.Addr()
	canary := newCanary(t)
	site := newSite(t, d.Program, d.Policy, through.String(), canary, d.Vars...)
	d.fleet = site.fleet()
	cookies := login(d.fleet[0])
	var bases []string
	for _, g := range d.fleet {
		bases = append(bases, g.url)
	}
	d.mix = NewMix(bases, cookies, d.Seed)
	own := append(serverFaults(redis), (&eviction{canary: canary, site: site, fleet: d.fleet, redis: redis, cookies: cookies}).fault(), full(redis))
	for i := range own {
		if redis == nil {
			own[i].Skip = notOwn
		}
	}
	return choose(append(proxyFaults(t, proxy), own...), d.Faults)
}

// server finds the Redis to stand before, or starts one; own is nil where it is
// somebody else's.
func (d *redisDrill) server(t env.T) (own *env.RedisServer, target string, through url.URL, err error) {
	if redisurl.None(d.RedisConfig.Redis) {
		own = env.Redis(t, "--maxmemory-policy", "noeviction")
		return own, own.Addr, url.URL{Path: "/0"}, nil
	}
	behind, err := redisurl.Parse(d.RedisConfig.Redis)
	if err != nil {
		return nil, "", through, fmt.Errorf("redis: %w", err)
	}
	if behind.Cluster || behind.Service != "" || behind.TLS {
		return nil, "", through, errors.New("a drill needs one Redis and no TLS; name another with --redis")
	}
	target = behind.Addrs[0]
	if filepath.IsAbs(target) {
		target = "unix:" + target
	}
	through.Path = "/" + strconv.Itoa(behind.DB)
	if behind.User != "" || behind.Password != "" {
		through.User = url.UserPassword(behind.User, behind.Password)
	}
	return nil, target, through, nil
}

// run plays one fault after the other, or as many as begin before the deadline.
func (d *redisDrill) run(ctx context.Context, faults []Fault) (rows []Row, err error) {
	rows = []Row{}
	// The first seconds fill caches and pools, and count for nothing.
	if err := d.fleet.awaitUp(anyway); err != nil || !sleep(ctx, d.Each) {
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

func anyway([]status) bool { return true }

// playOne plays one fault, after a time in which nothing is broken.
func (d *redisDrill) playOne(ctx context.Context, f Fault) (_ Row, slow bool, err error) {
	if f.Before != nil {
		f.Before()
	}
	if err := d.fleet.awaitUp(anyway); err != nil {
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
	time.Sleep(4 * d.Budget) // what was under way at the end is over then
	row := Row{Fault: f.Name, Description: f.Description}
	row.measure(d.samples.soFar(), d.healthy, o, d.Budget)
	slow = row.judge(f, o, d.Budget, errors.Join(err, seen))
	return row, slow, nil
}

// MS is a time in milliseconds.
type MS float64

func inMS(d time.Duration) MS { return MS(float64(d.Microseconds()) / 1000) }

// String shows a time that was not met as a dash.
func (m MS) String() string {
	if m == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fms", float64(m))
}

// met is nil for a time that was not met.
func met(d time.Duration) *MS {
	if d == 0 {
		return nil
	}
	m := inMS(d)
	return &m
}

// Report is a drill of Redis as one JSON document. Its names are stable: members
// may come to it, and none changes its name or its meaning.
type Report struct {
	Seed   uint64 `json:"seed"`
	Rate   int    `json:"rate"`    // requests a second
	Each   MS     `json:"each_ms"` // how long a fault lasted
	Passed bool   `json:"passed"`  // rows were played, and none of them failed
	Rows   []Row  `json:"rows"`    // in the order in which they were played
}

// Row is what one fault showed. Of one that was skipped all figures are 0.
type Row struct {
	Fault       string   `json:"fault"`
	Description string   `json:"description"`
	Verdict     string   `json:"verdict"`           // pass, fail or skipped
	Problems    []string `json:"problems"`          // of fail; else empty
	Skipped     string   `json:"skipped,omitempty"` // why
	Broken      Figures  `json:"broken"`            // while the fault lasted
	Healthy     Figures  `json:"healthy"`           // while nothing was broken, up to then
	Trips       int      `json:"trips"`             // the most often that a gateway gave Redis up
	Trip        *MS      `json:"to_trip_ms"`        // until the first did; null: none
	Return      *MS      `json:"to_return_ms"`      // until the last used it again; null: it was in use at the end
	Apart       *MS      `json:"apart_ms"`          // from the first that used it again to the last; null: as above
}

// measure fills in the figures.
func (r *Row) measure(all []sample, healthy []span, o outage, budget time.Duration) {
	end := o.whole
	if end.Equal(o.from) { // nothing was mended
		end = o.to
	}
	r.Healthy = figures(all, healthy...)
	r.Broken = figures(all, span{o.from, end})
	// Requests that are under way when Redis stops answering, and those that come
	// before it is given up, may each wait for their budget.
	settled := figures(all, span{o.from.Add(2 * budget), end})
	r.Broken.P50, r.Broken.P99 = settled.P50, settled.P99
	r.Trips, r.Trip, r.Return, r.Apart = o.trips, met(o.trip), met(o.returned), met(o.apart)
}

// judge says what is wrong with the row; seen is what was found besides. It reports
// whether the time that requests took is.
func (r *Row) judge(f Fault, o outage, budget time.Duration, seen error) (slow bool) {
	r.Problems = []string{}
	problem := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	if r.Broken.Failed > 0 {
		problem("%d requests failed, the first: %s", r.Broken.Failed, r.Broken.first)
	}
	allowed := inMS(slower)
	if !f.Steady {
		allowed += inMS(budget) // each request may meet it anew
	}
	if rise := r.Broken.P50 - r.Healthy.P50; rise > allowed {
		slow = true
		problem("p50 rose by %s, allowed %s", rise, allowed)
	} else if rise := r.Broken.P99 - r.Healthy.P99; rise > allowed {
		slow = true
		problem("p99 rose by %s, allowed %s", rise, allowed)
	}
	if r.Broken.HitRatio < r.Healthy.HitRatio-fewerHits {
		problem("the hit ratio fell from %.2f to %.2f", r.Healthy.HitRatio, r.Broken.HitRatio)
	}
	for _, c := range []struct {
		wrong bool
		text  string
	}{
		{f.Steady && o.again > 1, fmt.Sprintf("Redis was given up %d times though it was broken all the time", o.again)},
		{f.Steady && o.misled > 0, fmt.Sprintf("Redis was thought to be whole %d times though it was broken all the time", o.misled)},
		{f.Steady && o.tripped < gateways && seen == nil, "not every gateway gave Redis up"},
		{(f.Steady || f.Loss) && o.apart > together, fmt.Sprintf("the last gateway used Redis %s after the first, allowed %s", o.apart.Round(time.Millisecond), together)},
		{f.Late && o.late == 0, "no late answer was dropped"},
		{f.Loss && o.losses < gateways, fmt.Sprintf("that Redis had lost data was not noticed by every gateway, but %d times", o.losses)},
		{seen != nil, fmt.Sprint(seen)},
	} {
		if c.wrong {
			problem("%s", c.text)
		}
	}
	for _, reason := range o.reasons {
		if f.NeverFor != "" && strings.Contains(reason, f.NeverFor) {
			problem("Redis was given up for what must not happen: %s", reason)
		}
	}
	r.Verdict = "pass"
	if len(r.Problems) > 0 {
		r.Verdict = "fail"
	}
	return slow
}

// passed reports whether rows were played, and none of them failed.
func passed(rows []Row) (some bool) {
	for _, r := range rows {
		if r.Verdict == "fail" {
			return false
		}
		some = some || r.Verdict == "pass"
	}
	return some
}

// Table writes the rows for a person; below, what is wrong with them, and why some
// were not played.
func (r Report) Table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "fault\trequests\t5xx\tp50\thealthy\tp99\thealthy\thits\thealthy\ttrips\tto trip\tto return\tapart\tverdict\t") // Flush tells
	var remarks strings.Builder
	for _, r := range r.Rows {
		if r.Skipped != "" {
			_, _ = fmt.Fprintf(t, "%s\t%sskipped\t\n", r.Fault, strings.Repeat("-\t", 12)) // as above
			fmt.Fprintf(&remarks, "%s: skipped: %s\n", r.Fault, r.Skipped)
			continue
		}
		if len(r.Problems) > 0 {
			fmt.Fprintf(&remarks, "%s (%s): %s\n", r.Fault, r.Description, strings.Join(r.Problems, "; "))
		}
		verdict := strings.Replace(r.Verdict, "fail", "FAIL", 1)
		_, _ = fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t%.2f\t%.2f\t%d\t%s\t%s\t%s\t%s\t\n", r.Fault, r.Broken.Requests, r.Broken.Failed,
			r.Broken.P50, r.Healthy.P50, r.Broken.P99, r.Healthy.P99, r.Broken.HitRatio, r.Healthy.HitRatio,
			r.Trips, shown(r.Trip), shown(r.Return), shown(r.Apart), verdict) // as above
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, remarks.String())
	return err
}

func shown(m *MS) MS {
	if m == nil {
		return 0
	}
	return *m
}
