package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/drill"
	"github.com/jewgo/gateway/test/faultproxy"
)

// drillOptions are the flags of gateway drill redis.
type drillOptions struct {
	drillFlags
	config string
	redis  string
	faults []string
	each   time.Duration
	rate   int
	list   bool
	yes    bool
}

func newDrill() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "Break things on purpose, and judge what clients see",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	o := drillOptions{drillFlags: drillFlags{seed: 1}}
	redis := &cobra.Command{
		Use:   "redis",
		Short: "Break Redis in every way, under traffic",
		Long: "Start a gateway of its own behind a proxy that breaks Redis in every way, send it traffic, and print what clients saw.\n" +
			"Without --config it is the demo with its embedded backend; with one, the policy's upstreams and Redis are used, and\n" +
			"Redis gets the keys that such traffic leaves. Without a Redis it starts a redis-server of its own; what would hurt one\n" +
			"that is in use is skipped.\n" +
			"Exit status: 0 every fault passed, 1 one did not, 2 the drill could not run.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.declare(redis, "begin no fault after this time, and draw their order by --seed (default: all, in order)", "of the traffic and the order")
	f := redis.Flags()
	f.StringVarP(&o.config, "config", "c", "", "drill this policy instead of the demo's")
	f.StringVar(&o.redis, "redis", "", "use this Redis, redis://host:port or unix:///path (default: the policy's, else one of its own)")
	f.StringSliceVar(&o.faults, "fault", nil, "play these faults alone, in this order")
	f.DurationVar(&o.each, "each", 3*time.Second, "how long a fault lasts")
	f.IntVar(&o.rate, "rate", 200, "requests a second")
	f.BoolVar(&o.list, "list", false, "list the faults")
	f.BoolVar(&o.yes, "yes", false, "drill a policy that is marked as production")
	cmd.AddCommand(redis, newDrillLimits())
	return cmd
}

func (o *drillOptions) run(cmd *cobra.Command) error {
	if o.list {
		for _, s := range drill.Scenarios(nil, &drill.Own{}) {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-16s %s\n", s.Name, s.Description); err != nil {
				return err
			}
		}
		return nil
	}
	if o.each < 100*time.Millisecond || o.each > 5*time.Minute || o.rate < 1 || o.rate > 5000 || o.length < 0 {
		return usage(errors.New("want --each from 100ms to 5m, --rate from 1 to 5000, and no negative --for"))
	}
	return o.drillFlags.run(cmd, func(ctx context.Context, dir string) (drillResult, bool, error) {
		cfg, rows, err := o.play(ctx, cmd, dir)
		return drillRows{drill.NewReport(cfg, o.seed, rows), rows}, drill.Passed(rows), err
	})
}

// drillRows is a drillResult.
type drillRows struct {
	drill.Report
	rows []drill.Row
}

// Table implements drillResult.
func (r drillRows) Table(w io.Writer) error { return drill.Table(w, r.rows) }

// play sets everything up, runs the drill until it ends or ctx does, and takes
// everything down again.
func (o *drillOptions) play(ctx context.Context, cmd *cobra.Command, dir string) (cfg drill.Config, _ []drill.Row, err error) {
	snapshot, end, err := o.policy(dir)
	if err != nil {
		return cfg, nil, err
	}
	defer end()
	behind, own, err := o.server(snapshot.Policy, dir)
	if err != nil {
		return cfg, nil, err
	}
	defer own.end()
	proxy, err := faultproxy.Listen(proxyTarget(behind))
	if err != nil {
		return cfg, nil, err
	}
	defer func() { _ = proxy.Close() }() // nothing is left to lose
	site := &drillSite{ctx: cmd.Context(), snapshot: snapshot, redis: through(proxy, behind), dir: dir, seed: o.seed}
	scenarios, unknown := drill.Choose(drill.Scenarios(proxy, site.permit(own)), o.faults)
	if unknown != "" {
		return cfg, nil, fmt.Errorf("unknown fault %q; see --list", unknown)
	}
	first, err := site.open(0)
	if err != nil {
		return cfg, nil, err
	}
	defer first.close()
	site.first = first
	if o.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.length)
		defer cancel()
		drill.Shuffle(scenarios, o.seed)
	}
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) } // as in execute
	say("seed %d, %d requests a second, %v a fault", o.seed, o.rate, o.each)
	cfg = drill.Config{
		Target: first.traffic().Target, Rate: o.rate, Status: first.status,
		Scenarios: scenarios, Each: o.each, Budget: snapshot.Policy.Redis.Budget.Std(),
		Progress: func(name string) { say("%s", name) },
	}
	rows, err := drill.Run(ctx, cfg)
	return cfg, rows, err
}

// policy loads the policy to drill, with the demo's backend where there is none;
// end lets go of that.
func (o *drillOptions) policy(dir string) (_ *policy.Snapshot, end func(), err error) {
	if o.config != "" {
		snapshot, err := policy.Load(o.config, os.Getenv)
		if err != nil {
			return nil, nil, err
		}
		if snapshot.Policy.Server.Production && !o.yes {
			return nil, nil, fmt.Errorf("%s says server.production: true; --yes drills it all the same", o.config)
		}
		return snapshot, func() {}, nil
	}
	backend, end, err := startBackend(0)
	if err != nil {
		return nil, nil, err
	}
	getenv := func(key string) string {
		if key == "UPSTREAM_URL" {
			return backend
		}
		return ""
	}
	snapshot, err := policy.Parse(filepath.Join(dir, "demo.yaml"), demoPolicy, getenv)
	if err != nil {
		end()
		return nil, nil, err
	}
	return snapshot, end, nil
}
