package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/jewgo/gateway/test/drill"
	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/faultproxy"
)

const (
	// soakRounds is how often the soak stops to look, and soakLooks how often it
	// then does, a second apart.
	soakRounds = 10
	soakLooks  = 8
	// soakGrowth is what the live heap may grow by in a minute, in bytes, once
	// everything that is kept for a client or a response is there. That takes some
	// minutes: a soak that is shorter than soakJudged is not judged by it.
	soakGrowth = 50e3
	soakJudged = 10 * time.Minute
	// soakClients send the traffic. A bucket is kept for each client and limit, up
	// to limitBuckets: of so few clients all are there before the half.
	soakClients = 200
	// soakRests is how often the reader of the access log rests during the soak, for
	// half of the time. Each rest takes at least soakRest, so that requests that waited
	// for it would show: a soak that is short has fewer rests.
	soakRests = 100
	soakRest  = time.Second
)

// soakSocket names the environment variable that makes the test binary the
// gateway that is soaked, with a socket to look into its memory: what is live
// can be told after a collection alone, and the gateway itself has no way to ask
// for one.
const soakSocket = "GATEWAY_SOAK_SOCKET"

func init() {
	path := os.Getenv(soakSocket)
	if path == "" {
		return
	}
	runtime.MemProfileRate = 4 << 10 // so that small growth has a name in the profile
	l, err := net.Listen("unix", path)
	if err != nil {
		panic(err) // what the test starts must work
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/memory", func(w http.ResponseWriter, _ *http.Request) {
		runtime.GC()
		runtime.GC() // what the first one finalized, and pools let go of
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		_ = json.NewEncoder(w).Encode(held{m.HeapAlloc, runtime.NumGoroutine()})
	})
	mux.Handle("/heap", pprof.Handler("heap"))
	go func() { _ = http.Serve(l, mux) }() // ends with the process
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}

// held is what a gateway holds when nothing is under way.
type held struct {
	Heap       uint64 // bytes that are live
	Goroutines int
}

// soak is a gateway that can be looked into.
type soak struct {
	*jewgo
	inside *http.Client
	proxy  *faultproxy.Proxy
	mix    *drill.Mix
	random *rand.Rand
	sent   atomic.Uint64
	log    *restingReader
	tally
	resting, reading vegeta.Metrics // of requests that began while the log's reader did
}

// restingReader reads a log. In the first half of each period it rests.
type restingReader struct {
	start  time.Time
	period time.Duration
	lines  atomic.Uint64
}

func newRestingReader(length time.Duration) *restingReader {
	return &restingReader{start: time.Now(), period: max(length/soakRests, 2*soakRest)}
}

// rest is how long it still rests, seen from a moment; 0: it reads.
func (r *restingReader) rest(at time.Time) time.Duration {
	return max(0, r.period/2-at.Sub(r.start)%r.period)
}

// Write takes what was read from the pipe, once the rest is over. Nothing is read
// before it returns.
func (r *restingReader) Write(p []byte) (int, error) {
	time.Sleep(r.rest(time.Now()))
	r.lines.Add(uint64(bytes.Count(p, []byte{'\n'})))
	return len(p), nil
}

// pipe gives the end to write to. The pipe holds one page only (F_SETPIPE_SZ of
// fcntl(2)), so that some ten lines fill it.
func (r *restingReader) pipe(t *testing.T) *os.File {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	const setPipeSize = 1031
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, write.Fd(), setPipeSize, uintptr(os.Getpagesize())); errno != 0 {
		t.Fatal(errno)
	}
	go func() { // ends with the gateway
		defer read.Close()
		_, _ = io.Copy(r, read)
	}()
	return write
}

func startSoak(t *testing.T, seed uint64, length time.Duration) *soak {
	t.Helper()
	proxy, err := faultproxy.Listen(env.Redis(t).Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "memory.sock")
	t.Setenv(soakSocket, socket)
	t.Setenv("GATEWAY_E2E_COMMAND", self)
	log := newRestingReader(length)
	stdout := log.pipe(t)
	g := startJewGoAs(t, proxy.URL(), func(cmd *exec.Cmd) { cmd.Stdout = stdout })
	_ = stdout.Close()
	s := &soak{jewgo: g, proxy: proxy, random: rand.New(rand.NewPCG(seed, 0)), log: log}
	s.inside = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	s.readyz(t, "ok")
	s.mix = drill.NewMix([]string{s.base}, s.login("198.51.100.70"), seed)
	return s
}

// target is the mix, from few clients. Nobody logs in: the record of a session
// stays for session.idle, within 64 MiB, and a soak is shorter than that.
func (s *soak) target(t *vegeta.Target) error {
	for drawn := false; !drawn || strings.HasSuffix(t.URL, "/auth/login"); drawn = true {
		if err := s.mix.Target(t); err != nil {
			return err
		}
	}
	t.Header.Set("X-Forwarded-For", fmt.Sprint("198.51.100.", s.sent.Add(1)%soakClients))
	return nil
}

// round sends traffic for a time, while one fault follows the other.
func (s *soak) round(length time.Duration) {
	s.t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	defer transport.CloseIdleConnections()
	attacker := vegeta.NewAttacker(vegeta.Client(&http.Client{Transport: transport, Timeout: 10 * time.Second}), vegeta.MaxWorkers(100))
	results := attacker.Attack(s.target, vegeta.Rate{Freq: 100, Per: time.Second}, length, "soak")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for r := range results {
			s.add(r)
			if s.log.rest(r.Timestamp) > 0 {
				s.resting.Add(r)
			} else {
				s.reading.Add(r)
			}
		}
	}()
	faults := faultproxy.Faults()
	for end := time.Now().Add(length); time.Now().Before(end); {
		s.set(faults[s.random.IntN(len(faults))].Fault)
		time.Sleep(time.Duration(200+s.random.IntN(600)) * time.Millisecond)
		s.set(faultproxy.Fault{})
		time.Sleep(time.Duration(200+s.random.IntN(600)) * time.Millisecond)
	}
	<-done
}

func (s *soak) set(f faultproxy.Fault) {
	s.t.Helper()
	if err := s.proxy.Set(f); err != nil {
		s.t.Fatal(err)
	}
}

// settled is what the gateway holds when Redis is in use and nobody asks for
// anything. A cut first ends the connections to Redis, of which a round leaves
// sometimes more and sometimes fewer, at 64 KB each; the pool drops a dead one
// when it is taken.
func (s *soak) settled() (m held) {
	s.t.Helper()
	s.set(faultproxy.Fault{Link: faultproxy.Cut})
	env.Eventually(s.t, 30*time.Second, func() error {
		if n := s.metric(s.t, `gateway_redis_pool_connections{redis="redis",use="idle"}`); n > 0 {
			return fmt.Errorf("%v idle connections to a Redis that is dead", n)
		}
		return nil
	})
	s.set(faultproxy.Fault{})
	s.readyz(s.t, "ok")
	// What runs after a rejoin ends meanwhile, and so do idle connections to the
	// backend: the least of some looks is what stays.
	for look := range soakLooks {
		time.Sleep(time.Second)
		var now held
		if err := json.Unmarshal(s.ask("/memory"), &now); err != nil {
			s.t.Fatal(err)
		}
		if look == 0 || now.Heap < m.Heap {
			m = now
		}
	}
	return m
}

// ask reads one page of the inside.
func (s *soak) ask(path string) []byte {
	s.t.Helper()
	res, err := s.inside.Get("http://inside" + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return body
}

// profile keeps a heap profile beyond the test, for go tool pprof -base.
func (s *soak) profile(name string) string {
	s.t.Helper()
	f, err := os.CreateTemp("", "gateway-soak-*-"+name+".pprof")
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	s.ask("/memory") // for its collections
	if _, err := f.Write(s.ask("/heap")); err != nil {
		s.t.Fatal(err)
	}
	return f.Name()
}

// metric reads one number from the gateway's metrics.
func (g *gatewayProcess) metric(t *testing.T, name string) float64 {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(g.get(g.admin + "/metrics").body))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// Random faults of Redis, one after the other, leave nothing behind: neither
// memory nor goroutines. Nor does a request wait for the reader of the access log.
// GATEWAY_SOAK says for how long; `make soak` does.
func TestSoak(t *testing.T) {
	t.Parallel()
	length, err := time.ParseDuration(os.Getenv("GATEWAY_SOAK"))
	if err != nil {
		t.Skip("GATEWAY_SOAK names no duration; make soak does")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s := startSoak(t, seed, length)
	start := time.Now()
	var minutes, heap []float64
	var goroutines []int
	var half string
	var dropped float64
	for i := range soakRounds {
		s.round(length / soakRounds)
		m := s.settled()
		minutes, heap, goroutines = append(minutes, time.Since(start).Minutes()), append(heap, float64(m.Heap)), append(goroutines, m.Goroutines)
		t.Logf("after %.1f min: %d requests, %d hits, live heap %.3f MB, %.0f buckets, %.3f MB stored, %d goroutines", minutes[i], s.total, s.hits,
			heap[i]/1e6, s.metric(t, "gateway_limit_buckets"), s.metric(t, "gateway_cache_memory_bytes")/1e6, m.Goroutines)
		before := dropped
		if dropped = s.metric(t, "gateway_log_dropped_total"); dropped < before {
			t.Errorf("%v lines of the logs were dropped, after %v", dropped, before)
		}
		if i == soakRounds/2-1 {
			half = s.profile("half")
		}
	}
	if len(s.bad) > 0 {
		t.Errorf("failures %v", s.bad)
	}
	s.logged(dropped)
	growth := slope(minutes[soakRounds/2:], heap[soakRounds/2:])
	t.Logf("in the second half the live heap grew by %.1f KB a minute, allowed %.0f", growth/1e3, soakGrowth/1e3)
	if growth > soakGrowth && length >= soakJudged {
		t.Errorf("the heap grows: go tool pprof -base %s %s", half, s.profile("end"))
	} else {
		_ = os.Remove(half)
	}
	if first, last := goroutines[0], slices.Min(goroutines[soakRounds/2:]); last > first+50 { // idle connections to the backend have two each
		t.Errorf("goroutines at each look: %v", goroutines)
	}
}

// logged checks that no request waited for the reader of the access log, and that
// each request has its line, unless it was dropped.
func (s *soak) logged(dropped float64) {
	s.t.Helper()
	s.resting.Close()
	s.reading.Close()
	resting, reading := s.resting.Latencies.P99, s.reading.Latencies.P99
	s.t.Logf("p99 %v of %d requests while the log's reader rests for %v, %v of %d while it reads", resting, s.resting.Requests,
		s.log.period/2, reading, s.reading.Requests)
	if s.resting.Requests == 0 || s.reading.Requests == 0 || resting > reading+min(time.Second, s.log.period/4) {
		s.t.Error("requests wait for the reader of the access log")
	}
	env.Eventually(s.t, s.log.period+5*time.Second, func() error {
		if lines := s.log.lines.Load(); float64(lines)+dropped < float64(s.total) {
			return fmt.Errorf("%d lines in the access log, and %v dropped, of %d requests", lines, dropped, s.total)
		}
		return nil
	})
}

// slope is the median of the slopes between any two points (Theil and Sen): one
// point that is off does not turn it.
func slope(x, y []float64) float64 {
	var all []float64
	for i := range x {
		for j := range i {
			all = append(all, (y[i]-y[j])/(x[i]-x[j]))
		}
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

func TestSlope(t *testing.T) {
	t.Parallel()
	minutes := []float64{6, 7, 8, 9, 10}
	for _, tc := range []struct {
		sentence string
		y        []float64
		want     float64
	}{
		{"nothing grows", []float64{5, 5, 5, 5, 5}, 0},
		{"it grows", []float64{10, 12, 14, 16, 18}, 2},
		{"one point is off", []float64{10, 12, 99, 16, 18}, 2},
		{"it goes up and down", []float64{10, 12, 10, 12, 10}, 0},
	} {
		if got := slope(minutes, tc.y); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.sentence, got, tc.want)
		}
	}
}
