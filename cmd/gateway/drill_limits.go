package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/drill"
)

//go:embed drill_limits.yaml
var drillLimitsPolicy []byte

func newDrillLimits() *cobra.Command {
	f := drillFlags{length: time.Minute}
	cmd := &cobra.Command{
		Use:   "limits",
		Short: "Break Redis under three gateways, and count what their limits let through",
		Long: "Start three gateway processes on a redis-server of their own, and an upstream that counts. Greedy clients ask for far\n" +
			"more than they may, polite ones for less, over all gateways; meanwhile Redis is killed, restarted empty or with an old\n" +
			"copy, stopped, and emptied. In every window no client may get more than docs/rate-limits.md says, nobody may meet an\n" +
			"error, and no polite client a refusal.\n" +
			"Exit status: 0 all of that held, 1 it did not, 2 the drill could not run.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return drillLimits(cmd, f) },
	}
	f.declare(cmd, "begin no fault after this time", "of the faults (default: another one each time, which is printed)")
	return cmd
}

// drillLimits runs the drill and judges it.
func drillLimits(cmd *cobra.Command, f drillFlags) error {
	if f.length < 5*time.Second || f.length > 10*time.Minute {
		return usage(errors.New("want --for from 5s to 10m"))
	}
	if f.seed == 0 {
		f.seed = uint64(time.Now().UnixNano())
	}
	return f.run(cmd, func(ctx context.Context, dir string) (drillResult, bool, error) {
		report, err := playLimits(ctx, f, cmd.ErrOrStderr(), dir)
		return report, report.Passed, err
	})
}

// playLimits sets everything up, runs the drill, and takes everything down again.
func playLimits(ctx context.Context, f drillFlags, stderr io.Writer, dir string) (none drill.LimitsReport, _ error) {
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
		Upstream: upstream, Routes: routes, Faults: redis.limitsFaults(), Length: f.length, Seed: f.seed, Progress: say,
	}
	for i := range n {
		g, err := startGatewayProcess(filepath.Join(dir, fmt.Sprint("gateway-", i)), drillLimitsPolicy, vars)
		if err != nil {
			return none, err
		}
		defer g.end()
		cfg.Gateways = append(cfg.Gateways, drill.LimitsGateway{URL: g.url, Status: g.status})
	}
	say(fmt.Sprintf("seed %d, %v, %d gateways", f.seed, f.length, n))
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
