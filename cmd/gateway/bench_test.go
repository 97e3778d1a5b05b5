package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/internal/wire"
	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

var (
	benchStrict   = flag.Bool("strict", false, "of the benchmark: fail where a target is missed")
	benchOnly     = flag.String("only", "", "of the benchmark: a part of the names of the cases to run")
	benchProfiles = flag.String("profiles", "", "of the benchmark: a folder for CPU profiles of each side")
)

const (
	benchRounds = 21
	benchRound  = 500 * time.Millisecond // about
)

// benchPolicy is a gateway with a route for each case.
const benchPolicy = `
version: 1
server: {listen: "127.0.0.1:0", admin: ""}
log: {access: off}
redis: {url: "${REDIS_URL}"}
ratelimit: {headers: {ietf: "${IETF:-draft-10}", legacy: "${LEGACY:-true}"}}
upstreams: {api: {targets: ["${UPSTREAM_URL}"]}}
limits:
  closed: {key: client_ip, rate: 1/day}
  leased: {key: client_ip, rate: 2000/s, burst: 10000000, lease: 500} # used faster than it refills: else nothing is leased
  exact: {key: client_ip, rate: 100000/s, lease: off}
routes:
  - {name: refused, match: {path: /refused}, upstream: api, limits: [closed]}
  - {name: leased, match: {path: /leased}, upstream: api, limits: [leased]}
  - {name: exact, match: {path: /exact}, upstream: api, limits: [exact]}
  - {name: cached, match: {path: "/cached/{size}"}, upstream: api, limits: [leased], cache: {ttl: 1h}}
  - {name: unlimited, match: {path: "/unlimited/{size}"}, upstream: api, cache: {ttl: 1h}}
  - {name: rest, match: {path: "/{rest...}"}, upstream: api}
`

// benchCase compares what this process spends on a request to two URLs.
type benchCase struct {
	what         string
	url          string
	status       int
	baseline     string
	baselineURL  string
	target       float64             // of the ratio
	during       func() (end func()) // what runs beside the requests to url; nil: nothing
	own, against cost                // measured
	ratio        float64
}

// cost is what one request takes.
type cost struct {
	cpu     time.Duration
	mallocs float64
}

// What a request costs this process, beside what it could not do without. Client,
// upstream and Redis are processes of their own, and rounds of the two sides
// alternate, so that a ratio says more than a time. make bench-parts sets GATEWAY_BENCH.
func TestBench(t *testing.T) {
	t.Parallel()
	if os.Getenv("GATEWAY_BENCH") == "" {
		t.Skip("GATEWAY_BENCH is not set; make bench-parts does that")
	}
	upstream := strings.TrimSuffix(benchChild(t, "upstream").line(t), "/")
	store := env.Redis(t)
	g, unchecked := benchListen(t, map[string]string{"REDIS_URL": store.URL, "UPSTREAM_URL": upstream})
	observed, counted, watched := benchObserved(t, map[string]string{"REDIS_URL": store.URL, "UPSTREAM_URL": upstream})
	silent, _ := benchListen(t, map[string]string{"REDIS_URL": store.URL, "UPSTREAM_URL": upstream, "IETF": "off", "LEGACY": "false"})
	client := benchChild(t, "client")
	cases := []*benchCase{
		{what: "a refusal, through the whole chain", url: g + "/refused", status: http.StatusTooManyRequests, target: 1.35},
		{what: "a fresh hit of 1 KiB", url: g + "/cached/1024", status: http.StatusOK, target: 1.25},
		{what: "a fresh hit of 10 KiB", url: g + "/cached/10240", status: http.StatusOK, target: 1.20},
		{what: "a fresh hit of 232 KiB", url: g + "/cached/237568", status: http.StatusOK, target: 1.10},
		{
			what: "a fresh hit of 1 KiB, its head checked below net/http", url: g + "/cached/1024", status: http.StatusOK,
			baseline: "the same unchecked", baselineURL: unchecked + "/cached/1024", target: 1.03,
		},
		{
			what: "a fresh hit of 1 KiB, with metrics", url: observed + "/unlimited/1024?counted=1", status: http.StatusOK,
			baseline: "the same without", baselineURL: observed + "/unlimited/1024?counted=0", target: 1.03, during: counted,
		},
		{
			what: "a fresh hit of 1 KiB, while someone looks at the dashboard", url: observed + "/cached/1024?watched=1", status: http.StatusOK,
			baseline: "the same while nobody does", baselineURL: observed + "/cached/1024?watched=0", target: 1.01, during: watched,
		},
		{
			what: "a forwarded request with a leased limit, not told of", url: silent + "/leased", status: http.StatusOK,
			baseline: "the same without a limit", baselineURL: silent + "/plain", target: 1.05,
		},
		{
			what: "a forwarded request with a leased limit and five fields that tell", url: g + "/leased", status: http.StatusOK,
			baseline: "the same without a limit", baselineURL: g + "/plain", target: 1.05,
		},
		{
			what: "a forwarded request that Redis decides", url: g + "/exact", status: http.StatusOK,
			baseline: "httputil.ReverseProxy and redis_rate", baselineURL: benchProxy(t, store.Addr, upstream), target: 1.10,
		},
	}
	cases = slices.DeleteFunc(cases, func(c *benchCase) bool { return !strings.Contains(c.what, *benchOnly) })
	for _, c := range cases {
		if c.baseline == "" {
			c.baseline = "net/http, the same bytes and fields"
			client.ask(t, c.url, benchConns) // the one that is not refused, or fills
			c.baselineURL = benchStatic(t, client.ask(t, c.url, 1))
		}
		c.measure(t, client)
		c.profile(t, client)
	}
	local := testing.Benchmark(benchmarkLocalTake)
	var out strings.Builder
	fmt.Fprintf(&out, "\nA local charge (Limiter over memory): %d ns, %d allocations\n\n", local.NsPerOp(), local.AllocsPerOp())
	tw := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "what\tCPU\tallocations\tagainst\tCPU\tallocations\tratio\ttarget\t") // Flush tells
	missed := 0
	for _, c := range cases {
		verdict := "met"
		if c.ratio > c.target {
			verdict, missed = "MISSED", missed+1
		}
		_, _ = fmt.Fprintf(tw, "%s\t%v\t%.1f\t%s\t%v\t%.1f\t%.2f\t%.2f\t%s\n", c.what, c.own.cpu, c.own.mallocs, c.baseline, c.against.cpu, c.against.mallocs, c.ratio, c.target, verdict) // as above
	}
	_ = tw.Flush() // into memory
	_, _ = io.WriteString(os.Stdout, out.String()+"\n")
	if *benchStrict && missed > 0 {
		t.Errorf("%d targets missed", missed)
	}
}

// measure compares medians of rounds, and of their ratios.
func (c *benchCase) measure(t *testing.T, client *benchProcess) {
	requests := c.calibrate(t, client)
	var own, against, ratios, mallocs, baseMallocs []float64
	for round := range benchRounds {
		sides := []string{c.baselineURL, c.url}
		if round%2 == 1 {
			sides[0], sides[1] = sides[1], sides[0]
		}
		costs := map[string]cost{}
		for _, side := range sides {
			costs[side] = c.spend(t, client, side, requests)
		}
		a, b := costs[c.url], costs[c.baselineURL]
		own, against, ratios = append(own, float64(a.cpu)), append(against, float64(b.cpu)), append(ratios, float64(a.cpu)/float64(b.cpu))
		mallocs, baseMallocs = append(mallocs, a.mallocs), append(baseMallocs, b.mallocs)
	}
	c.own = cost{time.Duration(median(own)).Round(100 * time.Nanosecond), median(mallocs)}
	c.against = cost{time.Duration(median(against)).Round(100 * time.Nanosecond), median(baseMallocs)}
	c.ratio = median(ratios)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// calibrate warms both sides up, and finds how many requests make a round.
func (c *benchCase) calibrate(t *testing.T, client *benchProcess) int {
	const few = 2000
	client.ask(t, c.baselineURL, few)
	start := time.Now()
	client.ask(t, c.url, few)
	return max(few, int(few*benchRound/time.Since(start)))
}

// spend has the client send requests, and says what one of them cost.
func (c *benchCase) spend(t *testing.T, client *benchProcess, to string, requests int) cost {
	t.Helper()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if c.during != nil && to == c.url {
		defer c.during()()
	}
	cpu := cpuTime(t)
	a := client.ask(t, to, requests)
	cpu = cpuTime(t) - cpu
	runtime.ReadMemStats(&after)
	if a.Status != c.status || a.Others > 0 {
		t.Fatalf("%s: status %d, and %d others; want %d alone", to, a.Status, a.Others, c.status)
	}
	return cost{cpu / time.Duration(requests), float64(after.Mallocs-before.Mallocs) / float64(requests)}
}

// profile writes a profile of each side, where one is asked for.
func (c *benchCase) profile(t *testing.T, client *benchProcess) {
	if *benchProfiles == "" {
		return
	}
	for _, side := range []string{c.url, c.baselineURL} {
		name := strings.NewReplacer(" ", "-", ",", "", "/", "").Replace(c.what)
		if side == c.baselineURL {
			name += "-baseline"
		}
		f, err := os.Create(filepath.Join(*benchProfiles, name+".pprof"))
		if err != nil {
			t.Fatal(err)
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
			client.ask(t, side, 5000)
		}
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// cpuTime is what this process has spent in user and system mode.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// benchGateway makes a gateway by benchPolicy and its variables, in this process.
func benchGateway(tb testing.TB, vars map[string]string) (*gateway, *policy.Snapshot) {
	return inThisProcess(tb, benchPolicy, vars)
}

// inThisProcess makes a gateway by a policy and its variables, without listeners.
func inThisProcess(tb testing.TB, text string, vars map[string]string) (*gateway, *policy.Snapshot) {
	snapshot, err := policy.Parse(filepath.Join(tb.TempDir(), "gateway.yaml"), []byte(text), func(key string) string { return vars[key] })
	if err != nil {
		tb.Fatal(err)
	}
	s := &service{stdout: io.Discard, stderr: io.Discard, load: func() (*policy.Snapshot, error) { return snapshot, nil }}
	g, err := newGateway(context.Background(), snapshot, s, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(g.close)
	return g, snapshot
}

// benchListen serves a gateway at checked, and at unchecked without the check of heads and framing.
func benchListen(t *testing.T, vars map[string]string) (checked, unchecked string) {
	g, snapshot := benchGateway(t, vars)
	servers, err := g.open(snapshot.Policy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(servers.close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = servers.data.server.Serve(wire.Listener{Listener: l}) }() // ends with the server
	return shownURL(servers.scheme, servers.data.listeners[0]), shownURL("http", l)
}

// sometimes counts while it is on.
type sometimes struct {
	middleware.Metrics
	on atomic.Bool
}

func (s *sometimes) End(ex *exchange.Exchange, took time.Duration) {
	if s.on.Load() {
		s.Metrics.End(ex, took)
	}
}

// benchObserved serves one gateway, so that nothing else differs, that counts while counted, and whose
// dashboard someone looks at while watched. Each returns what ends it.
func benchObserved(t *testing.T, vars map[string]string) (base string, counted, watched func() (end func())) {
	g, snapshot := benchGateway(t, vars)
	counting := &sometimes{Metrics: g.observer.Metrics}
	g.observer.Metrics = counting
	snapshot.Policy.Server.Admin = "127.0.0.1:0"
	servers, err := g.open(snapshot.Policy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(servers.close)
	events := shownURL("http", servers.admin.listeners[0]) + "/events?page=/"
	counted = func() func() {
		counting.on.Store(true)
		return func() { counting.on.Store(false) }
	}
	watched = func() func() {
		res, err := http.Get(events)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, res.Body) }() // until it is closed
		return func() { _ = res.Body.Close() }
	}
	return shownURL(servers.scheme, servers.data.listeners[0]), counted, watched
}

// benchServe serves a handler in this process.
func benchServe(t *testing.T, handler http.HandlerFunc) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }() // ends with the server
	t.Cleanup(func() { _ = server.Close() })
	return "http://" + l.Addr().String() + "/"
}

// benchStatic is the least that gives an answer: a handler that sets its header
// fields and writes its body. Date is net/http's on both sides.
func benchStatic(t *testing.T, answer benchAnswer) string {
	type field struct{ name, value string }
	var fields []field
	for name := range answer.Header {
		if name != "Date" {
			fields = append(fields, field{name, answer.Header.Get(name)})
		}
	}
	return benchServe(t, func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for _, f := range fields {
			h.Set(f.name, f.value)
		}
		w.WriteHeader(answer.Status)
		_, _ = w.Write(answer.Body) // a client that is gone is no concern
	})
}

// benchProxy is the least that limits by redis_rate and forwards.
func benchProxy(t *testing.T, addr, upstream string) string {
	to, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	db := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = db.Close() })
	limiter := redis_rate.NewLimiter(db)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.SetXForwarded() }}
	return benchServe(t, func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		if res, err := limiter.Allow(r.Context(), "bench:"+host, redis_rate.PerSecond(100000)); err != nil || res.Allowed == 0 {
			http.Error(w, "limited", http.StatusTooManyRequests)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

func benchmarkLocalTake(b *testing.B) {
	limiter := ratelimit.New(ratelimit.Config{Local: ratelimit.NewTable(1 << 16), Replicas: func() int { return 1 }, Now: time.Now})
	charges := []ratelimit.Charge{{Key: "anonymous|12:192.0.2.1", Quota: gcra.Quota{Rate: 1000, Period: time.Second, Burst: 1000}, Cost: 1}}
	results := make([]gcra.Result, 0, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := limiter.Take(context.Background(), charges, results[:0]); err != nil {
			b.Fatal(err)
		}
	}
}
