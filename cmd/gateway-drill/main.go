// Command gateway-drill breaks Redis on purpose under three gateways, and judges
// what their clients see. It is no part of the product.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/demo"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/drill"
	"github.com/jewgo/gateway/test/env"
)

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

// errFailed says that a drill was played and not passed, which its table tells.
var errFailed = errors.New("the drill failed")

// execute runs a command line. Its status is 0 where the drill passed, 1 where it
// did not, and 2 where it could not run.
func execute(args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "gateway-drill",
		Short:         "Break Redis under gateways on purpose, and judge what clients see",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newRedis(), newLimits())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFailed):
		return 1
	case ctx.Err() != nil:
		err = errors.New("interrupted")
	}
	_, _ = fmt.Fprintln(stderr, "gateway-drill:", err) // a terminal that is gone cannot be told
	return 2
}

// flags are those that all drills have. What is set before declare is the default.
type flags struct {
	gateway string
	length  time.Duration
	seed    uint64
	json    string // file; "-": standard output
}

// declare adds the flags to a command; length and seed say what they are to it.
func (f *flags) declare(cmd *cobra.Command, length, seed string) {
	preset := "gateway"
	if self, err := os.Executable(); err == nil {
		preset = filepath.Join(filepath.Dir(self), "gateway")
	}
	flags := cmd.Flags()
	flags.StringVar(&f.gateway, "gateway", preset, "the gateway to drill")
	flags.DurationVar(&f.length, "for", f.length, length)
	flags.Uint64Var(&f.seed, "seed", f.seed, seed)
	flags.StringVar(&f.json, "json", "", "write the result as JSON into this file; -: in place of the table")
}

// run plays a drill and writes down what it found.
func (f *flags) run(cmd *cobra.Command, play func(t env.T) (table func(io.Writer) error, document any, passed bool, _ error)) error {
	program, err := exec.LookPath(f.gateway)
	if err != nil {
		return fmt.Errorf("%w; build it, or name it with --gateway", err)
	}
	f.gateway = program
	if f.json != "" && f.json != "-" {
		// A file that cannot be written is better known now than in some minutes.
		if err := os.WriteFile(f.json, nil, 0o644); err != nil {
			return err
		}
	}
	return drill.Run(func(t env.T) error {
		table, document, passed, err := play(t)
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		if err == nil {
			err = f.write(cmd.OutOrStdout(), table, document)
		}
		if err == nil && !passed {
			err = errFailed
		}
		return err
	})
}

// write writes the table, the JSON document, or both.
func (f *flags) write(stdout io.Writer, table func(io.Writer) error, document any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(document); err != nil {
		return err
	}
	switch f.json {
	case "-":
		_, err := b.WriteTo(stdout)
		return err
	case "":
		return table(stdout)
	}
	return errors.Join(os.WriteFile(f.json, b.Bytes(), 0o644), table(stdout))
}

func say(cmd *cobra.Command) func(string) {
	return func(event string) { _, _ = fmt.Fprintln(cmd.ErrOrStderr(), event) } // as in execute
}

func newLimits() *cobra.Command {
	f := &flags{length: time.Minute, seed: uint64(time.Now().UnixNano())}
	cmd := &cobra.Command{
		Use:   "limits",
		Short: "Break Redis under three gateways, and count what their limits let through",
		Long: "Start three gateways on a redis-server of their own, and an upstream that counts. Greedy clients ask for far more than\n" +
			"they may, polite ones for less, over all gateways; meanwhile Redis is killed, restarted empty or with an old copy,\n" +
			"stopped, and emptied. In every window no client may get more than docs/rate-limits.md says, nobody may meet an error,\n" +
			"and no polite client a refusal.\n" +
			"Exit status: 0 all of that held, 1 it did not, 2 the drill could not run.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.length < 5*time.Second || f.length > 10*time.Minute {
				return errors.New("want --for from 5s to 10m")
			}
			return f.run(cmd, func(t env.T) (func(io.Writer) error, any, bool, error) {
				r, err := drill.Limits(cmd.Context(), t, drill.LimitsConfig{Program: f.gateway, Length: f.length, Seed: f.seed, Say: say(cmd)})
				return r.Table, r, r.Passed, err
			})
		},
	}
	f.declare(cmd, "begin no fault after this time", "of the faults (default: another one each time, which is printed)")
	cmd.Flags().Lookup("seed").DefValue = "0"
	return cmd
}

// redisFlags are the flags of gateway-drill redis.
type redisFlags struct {
	flags
	config, redis string
	faults        []string
	each          time.Duration
	rate          int
	list          bool
	yes, flask    bool
}

func newRedis() *cobra.Command {
	o := &redisFlags{flags: flags{seed: 1}}
	cmd := &cobra.Command{
		Use:   "redis",
		Short: "Break Redis in every way, under traffic",
		Long: "Start three gateways behind a proxy that breaks Redis in every way, send them traffic, and print what clients saw.\n" +
			"Without --config they serve the demo with its backend; with one, the policy's upstreams and Redis are used, and Redis\n" +
			"gets the keys that such traffic leaves. Without a Redis it starts a redis-server of its own; what would hurt one that\n" +
			"is in use is skipped.\n" +
			"Exit status: 0 every fault passed, 1 one did not, 2 the drill could not run.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.declare(cmd, "begin no fault after this time, and draw their order by --seed (default: all, in order)", "of the traffic and the order")
	f := cmd.Flags()
	f.StringVarP(&o.config, "config", "c", "", "drill this policy instead of the demo's")
	f.BoolVar(&o.flask, "flask", false, "start examples/flask, and set UPSTREAM_URL to it for the policy")
	f.StringVar(&o.redis, "redis", "", "use this Redis, redis://host:port or unix:///path (default: the policy's, else one of its own)")
	f.StringSliceVar(&o.faults, "fault", nil, "play these faults alone, in this order")
	f.DurationVar(&o.each, "each", 3*time.Second, "how long a fault lasts")
	f.IntVar(&o.rate, "rate", 200, "requests a second")
	f.BoolVar(&o.list, "list", false, "list the faults")
	f.BoolVar(&o.yes, "yes", false, "drill a policy that is marked as production")
	return cmd
}

func (o *redisFlags) run(cmd *cobra.Command) error {
	if o.list {
		for _, f := range drill.RedisFaults() {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-16s %s\n", f.Name, f.Description); err != nil {
				return err
			}
		}
		return nil
	}
	if o.each < 100*time.Millisecond || o.each > 5*time.Minute || o.rate < 1 || o.rate > 5000 || o.length < 0 {
		return errors.New("want --each from 100ms to 5m, --rate from 1 to 5000, and no negative --for")
	}
	return o.flags.run(cmd, func(t env.T) (func(io.Writer) error, any, bool, error) {
		cfg := drill.RedisConfig{
			Program: o.gateway, Redis: o.redis, Faults: o.faults, Length: o.length, Each: o.each, Rate: o.rate, Seed: o.seed, Say: say(cmd),
		}
		if err := o.policy(t, &cfg); err != nil {
			return nil, nil, false, err
		}
		r, err := drill.Redis(cmd.Context(), t, cfg)
		return r.Table, r, r.Passed, err
	})
}

// policy fills in what to serve, with a backend where the drill has one.
func (o *redisFlags) policy(t env.T, cfg *drill.RedisConfig) (err error) {
	name := o.config
	switch {
	case name == "":
		name, cfg.Policy = "demo.yaml", demo.Policy
		cfg.Vars = []string{"REDIS_URL=", "UPSTREAM_URL=" + drill.Demo(t)}
	case o.flask:
		cfg.Vars = []string{"UPSTREAM_URL=" + env.Flask(t)}
	}
	if o.config != "" {
		if cfg.Policy, err = os.ReadFile(name); err != nil {
			return err
		}
	}
	snapshot, err := policy.Parse(name, cfg.Policy, func(key string) string {
		for _, v := range cfg.Vars {
			if value, ok := strings.CutPrefix(v, key+"="); ok {
				return value
			}
		}
		return os.Getenv(key)
	})
	if err != nil {
		return err
	}
	p := snapshot.Policy
	if p.Server.Production && !o.yes {
		return fmt.Errorf("%s says server.production: true; --yes drills it all the same", o.config)
	}
	if cfg.Redis == "" {
		cfg.Redis = p.Redis.URL
	}
	cfg.Budget = p.Redis.Budget.Std()
	return nil
}
