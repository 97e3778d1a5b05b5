package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/drill"
	"github.com/jewgo/gateway/policy"
)

//go:embed drill_limits.yaml
var drillLimitsPolicy []byte

// drillLimitsOptions are the flags of gateway drill limits.
type drillLimitsOptions struct {
	length time.Duration
	seed   uint64
	json   string
}

func newDrillLimits() *cobra.Command {
	var o drillLimitsOptions
	cmd := &cobra.Command{
		Use:   "limits",
		Short: "Break Redis under three gateways, and count what their limits let through",
		Long: "Start three gateway processes on a redis-server of their own, and an upstream that counts. Greedy clients ask for far\n" +
			"more than they may, polite ones for less, over all gateways; meanwhile Redis is killed, restarted empty or with an old\n" +
			"copy, stopped, and emptied. In every window no client may get more than docs/rate-limits.md says, nobody may meet an\n" +
			"error, and no polite client a refusal.\n" +
			"Exit status: 0 all of that held, 1 it did not, 2 the drill could not run.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.DurationVar(&o.length, "for", time.Minute, "begin no fault after this time")
	f.Uint64Var(&o.seed, "seed", 0, "of the faults (default: another one each time, which is printed)")
	f.StringVar(&o.json, "json", "", "write the result as JSON into this file; -: in place of the table")
	return cmd
}

func (o *drillLimitsOptions) run(cmd *cobra.Command) error {
	if o.length < 5*time.Second || o.length > 10*time.Minute {
		return usage(errors.New("want --for from 5s to 10m"))
	}
	if o.json != "" && o.json != "-" {
		// A file that cannot be written is better known now than in some minutes.
		if err := os.WriteFile(o.json, nil, 0o644); err != nil {
			return usage(err)
		}
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	dir, err := os.MkdirTemp("", "gateway-drill-")
	if err != nil {
		return usage(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system clears its folder for temporary files
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := o.play(ctx, cmd.ErrOrStderr(), dir)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		return usage(err)
	}
	if err := o.report(cmd.OutOrStdout(), report); err != nil {
		return usage(err)
	}
	if !report.Passed {
		return &exitError{code: 1}
	}
	return nil
}

// report prints the table, the JSON document, or both.
func (o *drillLimitsOptions) report(stdout io.Writer, r drill.LimitsReport) error {
	switch o.json {
	case "-":
		return r.Write(stdout)
	case "":
		return r.Table(stdout)
	}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(o.json, b.Bytes(), 0o644), r.Table(stdout))
}

// play sets everything up, runs the drill, and takes everything down again.
func (o *drillLimitsOptions) play(ctx context.Context, stderr io.Writer, dir string) (none drill.LimitsReport, _ error) {
	say := func(event string) { _, _ = fmt.Fprintln(stderr, event) } // as in execute
	redis, err := newOwnRedis(dir)
	if err != nil {
		return none, err
	}
	defer redis.end()
	upstream := drill.NewUpstream()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return none, err
	}
	server := &http.Server{Handler: upstream, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // ErrServerClosed, or the gateways answer 502 and the drill says so
	}()
	defer func() {
		_ = server.Close() // its listener is all that can fail to close
		<-served
	}()
	vars := map[string]string{"REDIS_URL": "unix://" + redis.socket, "UPSTREAM_URL": "http://" + l.Addr().String()}
	routes, n, err := limitsOf(drillLimitsPolicy, vars)
	if err != nil {
		return none, err
	}
	cfg := drill.LimitsConfig{
		Upstream: upstream, Routes: routes, Faults: redis.limitsFaults(), Length: o.length, Seed: o.seed, Progress: say,
	}
	for i := range n {
		g, err := startGatewayProcess(filepath.Join(dir, fmt.Sprint("gateway-", i)), drillLimitsPolicy, vars)
		if err != nil {
			return none, err
		}
		defer g.end()
		cfg.Gateways = append(cfg.Gateways, drill.LimitsGateway{URL: g.url, Status: g.status})
	}
	say(fmt.Sprintf("seed %d, %v, %d gateways", o.seed, o.length, n))
	return drill.RunLimits(ctx, cfg)
}

// limitsOf reads from the policy what to expect, and of how many gateways.
func limitsOf(text []byte, vars map[string]string) (routes []drill.LimitsRoute, gateways int, err error) {
	snapshot, err := policy.Parse("drill_limits.yaml", text, func(key string) string { return vars[key] })
	if err != nil {
		return nil, 0, err
	}
	for _, r := range snapshot.Routes {
		route := drill.LimitsRoute{Path: r.Pattern}
		for _, l := range r.Limits {
			route.Limits = append(route.Limits, drill.LimitsLimit{Name: l.Name, Quota: l.Quota, Lease: l.Lease})
		}
		routes = append(routes, route)
	}
	return routes, int(snapshot.Policy.Redis.Replicas), nil
}

// limitsFaults are what a drill of the limits does to its Redis.
func (r *ownRedis) limitsFaults() []drill.LimitsFault {
	signal := func(s os.Signal) func() error { return func() error { return r.process.Process.Signal(s) } }
	forget := func() error {
		err := os.Remove(filepath.Join(r.dir, "dump.rdb"))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	return []drill.LimitsFault{
		{Name: "killed, back empty", Before: forget, Start: r.kill, End: r.start},
		{Name: "killed, back with an old copy", Before: r.save, Start: r.kill, End: r.start},
		{Name: "stopped", Start: signal(syscall.SIGSTOP), End: signal(syscall.SIGCONT)},
		{Name: "emptied", Start: r.empty, Unnoticed: true},
	}
}

// decodeStatus reads what GET /v1/redis says of the first Redis, as far as a
// drill of the limits needs it.
func decodeStatus(body io.Reader) (s limitsStatus, err error) {
	var view struct {
		Redis []struct{ Status limitsStatus }
	}
	if err := json.NewDecoder(body).Decode(&view); err != nil {
		return s, err
	}
	if len(view.Redis) == 0 {
		return s, errors.New("the gateway has no redis")
	}
	return view.Redis[0].Status, nil
}

// limitsStatus is a failover.Status in JSON.
type limitsStatus struct {
	State   string
	History []struct {
		At time.Time
		To string
	}
}
