package field

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// Config says what to measure.
type Config struct {
	Gateway string        // the gateway's program
	Self    string        // this program, whose command serve starts the servers of this package
	Round   time.Duration // how long a server is under load at a time
	Rounds  int
	Only    string // a part of the name of a case or a server
	Profile string // a folder for a CPU profile of the gateway in each case; "": none
	Say     func(event string)
}

// Rates of the measurement of latencies: a share of what the slowest server can do, within what the
// client can send without being late itself.
const (
	rateShare = 0.4
	rateLeast = 50
	rateMost  = 1000
)

// Run plays the cases one after the other. Their servers start and end with them, so that the memory
// is that of the case.
func Run(ctx context.Context, t env.T, cfg Config) (tables []Table, err error) {
	cases := choose(cfg.Only)
	if len(cases) == 0 {
		return nil, fmt.Errorf("no case and no server has %q in its name", cfg.Only)
	}
	files := env.NewCA(t).IssueFor(t, 24*time.Hour, "localhost", "127.0.0.1")
	shared := &site{t: t, cfg: cfg, files: files, client: newClient(nil)}
	shared.upstream = shared.child("upstream")
	for _, c := range cases {
		s := *shared
		s.c = c
		table, err := s.play(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		tables = append(tables, table)
	}
	return tables, nil
}

// measured is what the rounds of one server gave.
type measured struct {
	server                            *server
	throughput, cpu, allocs, p50, p99 []float64
	memory                            int64
}

// play plays one case.
func (s *site) play(ctx context.Context) (Table, error) {
	config, err := trust(s.files.CA)
	if err != nil {
		return Table{}, err
	}
	s.client, s.answer = newClient(config), filepath.Join(s.t.TempDir(), "answer.json")
	if s.c.redis {
		s.redis = env.Redis(s.t)
		defer s.redis.Kill()
	}
	script := ""
	if s.c.misses {
		if script, err = s.misses(); err != nil {
			return Table{}, err
		}
	}
	field, stop := s.open()
	defer stop()
	for _, m := range field { // pools fill, and the heap finds its size
		if _, err := runWrk(ctx, m.server.url+s.c.Path, script, "warm", time.Second); err != nil {
			return Table{}, fmt.Errorf("%s: %w", m.server.name, err)
		}
	}
	table := Table{Case: s.c.Name, About: s.c.About, Baseline: s.c.Baseline}
	for round := range s.cfg.Rounds {
		order := slices.Clone(field)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, m := range order {
			if err := s.load(ctx, m, script, fmt.Sprint("load", round)); err != nil {
				return Table{}, fmt.Errorf("%s: %w", m.server.name, err)
			}
		}
		if table.Rate == 0 {
			table.Rate = commonRate(field)
		}
		for _, m := range order {
			if ctx.Err() != nil {
				return Table{}, ctx.Err()
			}
			if err := s.pace(m, fmt.Sprint("rate", round), table.Rate, config); err != nil {
				return Table{}, fmt.Errorf("%s: %w", m.server.name, err)
			}
		}
	}
	for _, m := range field {
		if m.server.token != "" && s.cfg.Profile != "" {
			if err := s.profile(ctx, m.server, script); err != nil {
				return Table{}, err
			}
		}
	}
	table.Rows = s.rows(field)
	return table, nil
}

// profile loads the gateway once more, and keeps where its CPU time goes, for go tool pprof.
func (s *site) profile(ctx context.Context, of *server, script string) error {
	seconds := max(1, int(s.cfg.Round.Seconds()))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, of.admin+"/debug/pprof/profile?seconds="+strconv.Itoa(seconds), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+of.token)
	loaded := make(chan error, 1)
	go func() { // ends with wrk
		_, err := runWrk(ctx, of.url+s.c.Path, script, "profile", s.cfg.Round)
		loaded <- err
	}()
	taken, err := take(req)
	if err := errors.Join(err, <-loaded); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.cfg.Profile, s.c.Name+".pprof"), taken, 0o644)
}

// take returns the body of a response that is as it should be.
func take(req *http.Request) ([]byte, error) {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", req.URL, res.Status, body)
	}
	return body, errors.Join(err, res.Body.Close())
}

// open starts the servers of the case that are installed, the gateway first, whose answer the static
// server repeats.
func (s *site) open() (field []*measured, stop func()) {
	var running []*server
	if slices.Contains(s.c.Servers, static) && !slices.Contains(s.c.Servers, gatewayBin) {
		running = append(running, s.start(gatewayBin))
	}
	for _, name := range s.c.Servers {
		if !installed(name) {
			s.cfg.Say(s.c.Name + ": " + name + " is not installed")
			continue
		}
		one := s.start(name)
		running, field = append(running, one), append(field, &measured{server: one})
	}
	return field, func() {
		for _, one := range running {
			one.process.Stop(syscall.SIGTERM)
		}
	}
}

// misses writes wrk's script for requests that differ.
func (s *site) misses() (string, error) {
	b, err := configs.ReadFile("configs/misses.lua")
	file := filepath.Join(s.t.TempDir(), "misses.lua")
	return file, errors.Join(err, os.WriteFile(file, b, 0o600))
}

// load has wrk send as many requests as a server can take, and checks that they went where they should.
func (s *site) load(ctx context.Context, m *measured, script, run string) error {
	before, err := s.meters(m.server)
	if err != nil {
		return err
	}
	// The CPU time is read last before, and first after, so that the other meters are not in it.
	pid := m.server.process.Pid()
	cpu, err := cpuTime(pid)
	if err != nil {
		return err
	}
	l, err := runWrk(ctx, m.server.url+s.c.Path, script, run, s.cfg.Round)
	if err == nil {
		err = l.check(s.c.Status)
	}
	if err != nil {
		return err
	}
	end, err := cpuTime(pid)
	if err != nil {
		return err
	}
	after, err := s.meters(m.server)
	if err != nil {
		return err
	}
	asked, n := after.asked-before.asked, float64(l.requests)
	switch ran := after.scripts - before.scripts; {
	case s.c.reaches(m.server.name) && asked < n:
		return fmt.Errorf("the upstream got %.0f requests of %.0f", asked, n)
	case !s.c.reaches(m.server.name) && asked > spare:
		return fmt.Errorf("the upstream got %.0f requests; all should be answered before", asked)
	case s.c.Name == "exact" && ran < n:
		return fmt.Errorf("only %.0f of %.0f requests were decided by Redis", ran, n)
	}
	m.throughput = append(m.throughput, n/l.seconds)
	m.cpu = append(m.cpu, float64((end-cpu).Nanoseconds())/1e3/n)
	if m.server.admin != "" {
		m.allocs = append(m.allocs, (after.mallocs-before.mallocs)/n)
	}
	s.cfg.Say(fmt.Sprintf("%s: %s: %.0f requests/s, %.1f µs CPU each", s.c.Name, m.server.name, n/l.seconds, m.cpu[len(m.cpu)-1]))
	return nil
}

// pace measures latencies, and then the memory.
func (s *site) pace(m *measured, run string, rate int, config *tls.Config) error {
	p50, p99, err := latency(s.c, m.server, run, rate, s.cfg.Round, config)
	if err != nil {
		return err
	}
	m.p50, m.p99 = append(m.p50, float64(p50.Nanoseconds())/1e3), append(m.p99, float64(p99.Nanoseconds())/1e3)
	m.memory, err = peakMemory(m.server.process.Pid())
	return err
}

// commonRate is a rate that all servers of a case can keep up with.
func commonRate(field []*measured) int {
	slowest := field[0].throughput[0]
	for _, m := range field {
		slowest = min(slowest, m.throughput[0])
	}
	return max(rateLeast, min(rateMost, int(slowest*rateShare)))
}

// meters are counters before or after a load: allocations of the server, requests to the upstream, and
// scripts that Redis ran.
type meters struct{ mallocs, asked, scripts float64 }

func (s *site) meters(of *server) (m meters, err error) {
	if m.asked, err = counter(s.upstream.admin, requests); err != nil {
		return m, err
	}
	if of.admin != "" {
		if m.mallocs, err = counter(of.admin, mallocs); err != nil {
			return m, err
		}
	}
	if s.redis != nil {
		m.scripts = scripts(s.redis.Do("", "INFO", "commandstats"))
	}
	return m, nil
}

var scriptCalls = regexp.MustCompile(`(?m)^cmdstat_(?:eval|evalsha|fcall):calls=(\d+),`)

// scripts adds up how often Redis ran scripts, by its statistics of commands.
func scripts(stats string) (total float64) {
	for _, match := range scriptCalls.FindAllStringSubmatch(stats, -1) {
		calls, _ := strconv.ParseFloat(match[1], 64) // digits alone
		total += calls
	}
	return total
}
