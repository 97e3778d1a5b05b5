// Command gateway-drill breaks Redis on purpose under three gateways, and judges what their clients
// see. It is not part of the product.
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

// errFailed means that a drill ran and failed; its table says why.
var errFailed = errors.New("the drill failed")

// execute runs a command line. The exit status is 0 if the drill passed, 1 if it failed, and 2 if it
// could not run.
func execute(args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "gateway-drill",
		Short:         "Break Redis under gateways on purpose, and judge what clients see",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newRedis(), newLimits(), newSessions())
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
	_, _ = fmt.Fprintln(stderr, "gateway-drill:", err) // fails only if the terminal is gone
	return 2
}

// command is a drill with its flags.
type command struct {
	drill.Config
	json string // file for the result; "-": standard output
}

// declare adds the flags of all drills to a command. length and seed are the help texts of --for and
// --seed. Fields set before are the defaults.
func (c *command) declare(cmd *cobra.Command, length, seed string) {
	preset := "gateway"
	if self, err := os.Executable(); err == nil {
		preset = filepath.Join(filepath.Dir(self), "gateway")
	}
	f := cmd.Flags()
	f.StringVar(&c.Program, "gateway", preset, "the gateway to drill")
	f.DurationVar(&c.Length, "for", c.Length, length)
	f.Uint64Var(&c.Seed, "seed", c.Seed, seed)
	f.StringVar(&c.json, "json", "", "write the result as JSON to this file; -: to standard output, instead of the table")
}

// run plays a drill and writes its result.
func (c *command) run(cmd *cobra.Command, play func(t env.T) (drill.Result, error)) (err error) {
	if c.Program, err = exec.LookPath(c.Program); err != nil {
		return fmt.Errorf("%w; build it, or name it with --gateway", err)
	}
	if c.json != "" && c.json != "-" {
		// Fail now, not in some minutes, if the file cannot be written.
		if err := os.WriteFile(c.json, nil, 0o644); err != nil {
			return err
		}
	}
	c.Say = func(event string) { _, _ = fmt.Fprintln(cmd.ErrOrStderr(), event) } // as in execute
	return drill.Run(func(t env.T) error {
		result, err := play(t)
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		if err == nil {
			err = c.write(cmd.OutOrStdout(), result)
		}
		if err == nil && !result.OK() {
			err = errFailed
		}
		return err
	})
}

// write writes the table, the JSON document, or both.
func (c *command) write(stdout io.Writer, result drill.Result) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(result); err != nil {
		return err
	}
	switch c.json {
	case "-":
		_, err := b.WriteTo(stdout)
		return err
	case "":
		return result.Table(stdout)
	}
	return errors.Join(os.WriteFile(c.json, b.Bytes(), 0o644), result.Table(stdout))
}

func newLimits() *cobra.Command {
	return newRandom(time.Minute, &cobra.Command{
		Use:   "limits",
		Short: "Break Redis under three gateways, and count what their limits let through",
		Long: "Start three gateways with their own redis-server, and an upstream that counts requests. Through all gateways, greedy\n" +
			"clients send far more than their limits allow, polite clients less. Meanwhile Redis is killed, restarted empty or with\n" +
			"an old copy, stopped, and emptied. In no time window may a client get more than docs/how-it-works/limits.md allows;\n" +
			"no request may fail, and no polite client may be refused.\n" +
			"Exit status: 0 all of that held, 1 it did not, 2 the drill could not run.",
	}, func(ctx context.Context, t env.T, cfg drill.Config) (drill.Result, error) {
		return drill.Limits(ctx, t, cfg)
	})
}

func newSessions() *cobra.Command {
	return newRandom(6*time.Minute, &cobra.Command{
		Use:   "sessions",
		Short: "Break Redis and restart gateways under users who log in and out, and count whose sessions break",
		Long: "Start one gateway, three that tell each other of logouts, and three that hear of them through Redis alone, each with\n" +
			"their own redis-server. Users log in, read, write and log out through all of them, and copied cookies of ended sessions\n" +
			"are sent all the time. Meanwhile Redis is killed, restarted, restored from an old copy, stopped and emptied, and gateways\n" +
			"restart inside of the outages. No live session may be denied, no write that was answered may be lost, no request may\n" +
			"fail, and no gateway may accept an ended session if it handled the logout or has heard of it.\n" +
			"Exit status: 0 all of that held, 1 it did not, 2 the drill could not run.",
	}, func(ctx context.Context, t env.T, cfg drill.Config) (drill.Result, error) {
		return drill.Sessions(ctx, t, cfg)
	})
}

// newRandom completes the command of a drill that plays faults in random order for some time.
func newRandom(length time.Duration, cmd *cobra.Command, play func(context.Context, env.T, drill.Config) (drill.Result, error)) *cobra.Command {
	c := &command{Config: drill.Config{Length: length, Seed: uint64(time.Now().UnixNano())}}
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if c.Length < 5*time.Second || c.Length > 10*time.Minute {
			return errors.New("want --for from 5s to 10m")
		}
		return c.run(cmd, func(t env.T) (drill.Result, error) { return play(cmd.Context(), t, c.Config) })
	}
	c.declare(cmd, "start no fault after this time", "seed of the faults' order (default: random, and printed)")
	cmd.Flags().Lookup("seed").DefValue = "0"
	return cmd
}

// redisCommand is gateway-drill redis.
type redisCommand struct {
	command
	config           string // file of the policy
	list, yes, flask bool
}

func newRedis() *cobra.Command {
	c := &redisCommand{command: command{Config: drill.Config{Seed: 1}}}
	cmd := &cobra.Command{
		Use:   "redis",
		Short: "Break Redis in every way, under traffic",
		Long: "Start three gateways behind a proxy that breaks Redis in every way, send them traffic, and print what clients saw.\n" +
			"Without --config they serve the demo with its backend. With --config they use the policy's upstreams and Redis, and the\n" +
			"traffic leaves its keys in that Redis. Without a Redis, the drill starts its own redis-server. Faults that would harm a\n" +
			"Redis in use are skipped.\n" +
			"Exit status: 0 every fault passed, 1 one did not, 2 the drill could not run.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	c.declare(cmd, "start no fault after this time, in an order drawn by --seed (default: all, in order)", "seed of the traffic and of the order")
	f := cmd.Flags()
	f.StringVarP(&c.config, "config", "c", "", "drill this policy instead of the demo's")
	f.BoolVar(&c.flask, "flask", false, "start examples/jewgo, and set UPSTREAM_URL to it for the policy")
	f.StringVar(&c.Redis, "redis", "", "use this Redis, redis://host:port or unix:///path (default: the policy's, or else start one)")
	f.StringSliceVar(&c.Faults, "fault", nil, "play only these faults, in this order")
	f.DurationVar(&c.Each, "each", 3*time.Second, "how long a fault lasts")
	f.IntVar(&c.Rate, "rate", 200, "requests per second")
	f.BoolVar(&c.list, "list", false, "list the faults")
	f.BoolVar(&c.yes, "yes", false, "drill a policy that is marked as production")
	return cmd
}

func (c *redisCommand) run(cmd *cobra.Command) error {
	if c.list {
		for _, f := range drill.RedisFaults() {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-16s %s\n", f.Name, f.Description); err != nil {
				return err
			}
		}
		return nil
	}
	if c.Each < 100*time.Millisecond || c.Each > 5*time.Minute || c.Rate < 1 || c.Rate > 5000 || c.Length < 0 {
		return errors.New("want --each from 100ms to 5m, --rate from 1 to 5000, and no negative --for")
	}
	return c.command.run(cmd, func(t env.T) (drill.Result, error) {
		if err := c.policy(t); err != nil {
			return nil, err
		}
		return drill.Redis(cmd.Context(), t, c.Config)
	})
}

// policy sets the policy and its variables, and starts the demo's or the Flask backend if needed.
func (c *redisCommand) policy(t env.T) (err error) {
	name := c.config
	switch {
	case name == "":
		name, c.Policy = "demo.yaml", demo.Policy
		c.Vars = []string{"REDIS_URL=", "UPSTREAM_URL=" + drill.Demo(t)}
	case c.flask:
		c.Vars = []string{"UPSTREAM_URL=" + env.Flask(t)}
	}
	if c.config != "" {
		if c.Policy, err = os.ReadFile(name); err != nil {
			return err
		}
	}
	snapshot, err := policy.Parse(name, c.Policy, func(key string) string {
		for _, v := range c.Vars {
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
	if p.Server.Production && !c.yes {
		return fmt.Errorf("%s says server.production: true; --yes drills it anyway", c.config)
	}
	if c.Redis == "" {
		c.Redis = p.Redis.URL.Reveal()
	}
	c.Budget = p.Redis.Budget.Std()
	return nil
}
