package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/drill"
	"github.com/jewgo/gateway/internal/faultproxy"
	"github.com/jewgo/gateway/internal/redisurl"
	"github.com/jewgo/gateway/policy"
)

// drillOptions are the flags of gateway drill redis.
type drillOptions struct {
	config string
	redis  string
	faults []string
	each   time.Duration
	length time.Duration
	rate   int
	seed   uint64
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
	var o drillOptions
	redis := &cobra.Command{
		Use:   "redis",
		Short: "Break Redis in every way, under traffic",
		Long: "Start a gateway of its own behind a proxy that breaks Redis in every way, send it traffic, and print what clients saw.\n" +
			"Without --config it is the demo with its embedded backend; with one, the policy's upstreams and Redis are used, and\n" +
			"Redis gets the keys that such traffic leaves. Without a Redis it starts a redis-server of its own.\n" +
			"Exit status: 0 every fault passed, 1 one did not, 2 the drill could not run.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := redis.Flags()
	f.StringVarP(&o.config, "config", "c", "", "drill this policy instead of the demo's")
	f.StringVar(&o.redis, "redis", "", "use this Redis, redis://host:port or unix:///path (default: the policy's, else one of its own)")
	f.StringSliceVar(&o.faults, "fault", nil, "play these faults alone, in this order")
	f.DurationVar(&o.each, "each", 3*time.Second, "how long a fault lasts")
	f.DurationVar(&o.length, "for", 0, "begin no fault after this time, and draw their order by --seed (default: all, in order)")
	f.IntVar(&o.rate, "rate", 200, "requests a second")
	f.Uint64Var(&o.seed, "seed", 1, "of the traffic and the order")
	f.BoolVar(&o.list, "list", false, "list the faults")
	f.BoolVar(&o.yes, "yes", false, "drill a policy that is marked as production")
	cmd.AddCommand(redis)
	return cmd
}

func (o *drillOptions) run(cmd *cobra.Command) error {
	if o.list {
		for _, s := range drill.Scenarios(nil, func() error { return nil }) {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-16s %s\n", s.Name, s.Description); err != nil {
				return err
			}
		}
		return nil
	}
	if o.each < 100*time.Millisecond || o.each > 5*time.Minute || o.rate < 1 || o.rate > 5000 || o.length < 0 {
		return usage(errors.New("want --each from 100ms to 5m, --rate from 1 to 5000, and no negative --for"))
	}
	dir, err := os.MkdirTemp("", "gateway-drill-")
	if err != nil {
		return usage(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system clears its folder for temporary files
	rows, err := o.play(cmd, dir)
	if err != nil {
		return usage(err)
	}
	if err := drill.Table(cmd.OutOrStdout(), rows); err != nil {
		return err
	}
	if !drill.Passed(rows) {
		return &exitError{code: 1}
	}
	return nil
}

// play sets everything up, runs the drill, and takes everything down again.
func (o *drillOptions) play(cmd *cobra.Command, dir string) ([]drill.Row, error) {
	snapshot, end, err := o.policy(dir)
	if err != nil {
		return nil, err
	}
	defer end()
	behind, empty, end, err := o.server(snapshot.Policy, dir)
	if err != nil {
		return nil, err
	}
	defer end()
	proxy, err := faultproxy.Listen(proxyTarget(behind))
	if err != nil {
		return nil, err
	}
	defer func() { _ = proxy.Close() }() // nothing is left to lose
	isolate(snapshot.Policy, through(proxy, behind), dir)
	scenarios, unknown := drill.Choose(drill.Scenarios(proxy, empty), o.faults)
	if unknown != "" {
		return nil, fmt.Errorf("unknown fault %q; see --list", unknown)
	}
	s := &service{load: func() (*policy.Snapshot, error) { return snapshot, nil }, stdout: io.Discard, stderr: io.Discard}
	g, err := newGateway(cmd.Context(), snapshot, s, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer g.close()
	servers, err := g.open(snapshot.Policy)
	if err != nil {
		return nil, err
	}
	defer servers.close()
	ctx := cmd.Context()
	if o.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.length)
		defer cancel()
		drill.Shuffle(scenarios, o.seed)
	}
	base := shownURL(servers.dataListener)
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) } // as in execute
	say("seed %d, %d requests a second, %v a fault", o.seed, o.rate, o.each)
	return drill.Run(ctx, drill.Config{
		Target: drill.NewMix(base, login(ctx, base), o.seed).Target, Rate: o.rate, Status: g.stores.redis.health.Status,
		Scenarios: scenarios, Each: o.each, Budget: snapshot.Policy.Redis.Budget.Std(),
		Progress: func(name string) { say("%s", name) },
	})
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

// isolate keeps the drill's gateway apart from one that serves the same policy.
func isolate(p *policy.Policy, redis, dir string) {
	p.Redis.URL, p.Cache.RedisURL = redis, ""
	p.Server.Listen, p.Server.Admin = "127.0.0.1:0", ""
	p.Server.Hosts = nil
	p.Server.DataDir = dir
	p.Session.KeysFile = filepath.Join(dir, "session.keys")
	p.Session.Identity.KeysFile = filepath.Join(dir, "identity.keys")
	p.Log.Access = "off"
}

// server finds or starts the Redis to stand before, and says how to empty it if
// it is the drill's own.
func (o *drillOptions) server(p *policy.Policy, dir string) (_ redisurl.URL, empty func() error, end func(), err error) {
	raw := o.redis
	if raw == "" {
		raw = p.Redis.URL
	}
	if redisurl.None(raw) {
		return startRedis(dir)
	}
	behind, err := redisurl.Parse(raw)
	if err != nil {
		return behind, nil, nil, fmt.Errorf("redis: %w", err)
	}
	if behind.Cluster || behind.Service != "" || behind.TLS {
		return behind, nil, nil, errors.New("a drill needs one Redis and no TLS; name another with --redis")
	}
	return behind, nil, func() {}, nil
}

// proxyTarget is where the proxy finds that Redis.
func proxyTarget(behind redisurl.URL) string {
	if filepath.IsAbs(behind.Addrs[0]) {
		return "unix:" + behind.Addrs[0]
	}
	return behind.Addrs[0]
}

// through is the URL of that Redis by way of the proxy.
func through(proxy *faultproxy.Proxy, behind redisurl.URL) string {
	u := url.URL{Scheme: "redis", Host: proxy.Addr(), Path: "/" + strconv.Itoa(behind.DB)}
	if behind.User != "" || behind.Password != "" {
		u.User = url.UserPassword(behind.User, behind.Password)
	}
	return u.String()
}

// startRedis starts a redis-server that lives as long as the drill, on a socket
// in dir.
func startRedis(dir string) (_ redisurl.URL, empty func() error, end func(), err error) {
	none := redisurl.URL{}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return none, nil, nil, errors.New("redis-server is not installed: install it, or name a Redis with --redis")
	}
	socket := filepath.Join(dir, "redis.sock")
	cmd := exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir)
	if err := cmd.Start(); err != nil {
		return none, nil, nil, fmt.Errorf("redis-server: %w", err)
	}
	end = func() {
		_ = cmd.Process.Kill() // it holds nothing that is worth saving
		_ = cmd.Wait()         // the kill is its status
	}
	empty = func() error { return flush(socket) }
	for range 200 {
		if err = empty(); err == nil {
			return redisurl.URL{Addrs: []string{socket}}, empty, end, nil
		}
		time.Sleep(25 * time.Millisecond)
	}
	end()
	return none, nil, nil, fmt.Errorf("redis-server does not answer: %w", err)
}

// flush empties the Redis at a socket.
func flush(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it has answered
	if _, err := io.WriteString(conn, "FLUSHALL\r\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if line != "+OK\r\n" {
		return fmt.Errorf("FLUSHALL: %q", line)
	}
	return nil
}

// login returns the Cookie field of the demo's user, or "" where he is unknown.
func login(ctx context.Context, base string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/api/v5/auth/login", strings.NewReader(`{"email":"demo@example.org","password":"demo"}`))
	if err != nil {
		return ""
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return ""
	}
	_ = res.Body.Close() // the head is all that matters
	var cookies []string
	for _, c := range res.Cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	return strings.Join(cookies, "; ")
}
