package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/jewgo/gateway/test/env"
)

// balanced is one of the gateways behind a balancer.
type balanced struct {
	*gatewayProcess
	listen, admin string // its addresses, the same after each restart
	config        string
	releases      *releases
	ready         atomic.Bool   // what /readyz said last
	sent          atomic.Uint64 // requests, by the balancer
}

// start runs the gateway until it serves.
func (g *balanced) start(t *testing.T) {
	t.Helper()
	g.gatewayProcess = launchAs(t, g.releases.next, "run", "--config", g.config, "--listen", g.listen, "--admin", g.admin)
	g.serving()
}

// poll asks /readyz every 100 ms, as a balancer does, until end is closed.
func (g *balanced) poll(end <-chan struct{}) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	turns := time.NewTicker(100 * time.Millisecond)
	defer turns.Stop()
	for {
		res, err := client.Get("http://" + g.admin + "/readyz")
		g.ready.Store(err == nil && res.StatusCode == http.StatusOK)
		if err == nil {
			_ = res.Body.Close()
		}
		select {
		case <-end:
			return
		case <-turns.C:
		}
	}
}

// inUse waits until the balancer sends it requests.
func (g *balanced) inUse(t *testing.T) {
	t.Helper()
	before := g.sent.Load()
	env.Eventually(t, env.Patience, func() error {
		if g.sent.Load() == before {
			return fmt.Errorf("the balancer sends no requests to %s", g.listen)
		}
		return nil
	})
}

// balancer sends each request to one gateway that is ready, in turn. It keeps
// connections and does not retry.
type balancer struct {
	gateways []*balanced
	turn     atomic.Uint64
	again    atomic.Uint64 // requests that http.Transport sent twice all the same
	proxy    httputil.ReverseProxy
}

func newBalancer(gateways []*balanced) *balancer {
	b := &balancer{gateways: gateways}
	b.proxy = httputil.ReverseProxy{
		Rewrite:   b.rewrite,
		Transport: &http.Transport{MaxIdleConnsPerHost: 100},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "balancer: "+err.Error(), http.StatusBadGateway)
		},
	}
	return b
}

func (b *balancer) rewrite(p *httputil.ProxyRequest) {
	turn := int(b.turn.Add(1))
	g := b.gateways[turn%len(b.gateways)] // if none is ready, it gets the request all the same
	for i := 1; i < len(b.gateways) && !g.ready.Load(); i++ {
		g = b.gateways[(turn+i)%len(b.gateways)]
	}
	g.sent.Add(1)
	p.SetURL(&url.URL{Scheme: "http", Host: g.listen})
	var tries atomic.Uint64
	p.Out = p.Out.WithContext(httptrace.WithClientTrace(p.Out.Context(), &httptrace.ClientTrace{
		WroteHeaders: func() {
			if tries.Add(1) > 1 {
				b.again.Add(1)
			}
		},
	}))
}

// fixedAddr is a free address. It stays free while a gateway restarts: the system
// gives ports this low to nobody who asks for any port.
func fixedAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprint("127.0.0.1:", 20000+rand.IntN(10000))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// startBalanced serves restartPolicy in front of a backend, on fixed ports. Gateways with one file of keys share sessions.
func startBalanced(t *testing.T, backend, keys string) *balanced {
	t.Helper()
	g := &balanced{listen: fixedAddr(t), admin: fixedAddr(t), config: restartable(t, backend, keys, "3s"), releases: newReleases(t)}
	g.start(t)
	return g
}

// restartable writes restartPolicy.
func restartable(t *testing.T, backend, keys, lameDuck string) (config string) {
	t.Helper()
	here, there := policyFolder(t)
	writePolicy(t, filepath.Join(here, "gateway.yaml"), fmt.Sprintf(restartPolicy, lameDuck, keys, backend))
	own(t, here)
	return filepath.Join(there, "gateway.yaml")
}

const restartPolicy = `
version: 1
server: {data_dir: ./data, timeouts: {lame_duck: %s, drain: 5s}}
session: {cookie: {name: gw, secure: false}, keys_file: %q}
upstreams:
  app: {targets: [%q]}
routes:
  - {name: login, match: {path: /login}, upstream: app, session: optional, session_signal: true}
  - {name: me, match: {path: /me}, upstream: app, session: required}
  - {name: all, match: {path: "/{rest...}"}, upstream: app}
`

// workaday is a backend that takes some time and sends back what it was sent, logs users in, and has a stream of events.
func workaday(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/login":
		w.Header().Set("X-Gw-Session", `login {"user":"7"}`)
		return
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		for n := 1; r.Context().Err() == nil; n++ {
			_, _ = fmt.Fprintf(w, "id: %d\ndata: an event\n\n", n)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(20 * time.Millisecond)
		}
		return
	}
	time.Sleep(10 * time.Millisecond)
	_, _ = fmt.Fprint(w, r.Method, " ")
	_, _ = io.Copy(w, r.Body)
}

// users are a user who stays logged in and one who listens to events, for as long as gateways restart.
type users struct {
	ending         chan struct{}
	tasks          sync.WaitGroup
	seen, listened int      // requests of the first, streams of the second; valid after stop
	faults         []string // guarded by mu
	mu             sync.Mutex
}

func newUsers(t *testing.T, base string) *users {
	t.Helper()
	u := &users{ending: make(chan struct{})}
	res, err := http.Post(base+"/login", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if len(res.Cookies()) != 1 {
		t.Fatalf("login: %s, cookies %v", res.Status, res.Cookies())
	}
	u.tasks.Go(func() {
		for ; !u.ended(); u.seen++ {
			u.ask(base+"/me", res.Cookies()[0].String())
			time.Sleep(20 * time.Millisecond)
		}
	})
	u.tasks.Go(func() {
		for ; !u.ended(); u.listened++ {
			u.listen(base + "/events")
		}
	})
	return u
}

func (u *users) ended() bool {
	select {
	case <-u.ending:
		return true
	default:
		return false
	}
}

func (u *users) fault(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.faults = append(u.faults, fmt.Sprintf(format, args...))
}

// ask makes one request as the user.
func (u *users) ask(url, cookie string) {
	req, _ := http.NewRequest(http.MethodGet, url, nil) // url can be parsed
	req.Header.Set("Cookie", cookie)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		u.fault("the user: %v", err)
		return
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		u.fault("the user: %s", res.Status)
	}
}

// listen reads one stream of events to its end, which must be that of an event.
func (u *users) listen(url string) {
	res, err := http.Get(url)
	if err != nil {
		u.fault("events: %v", err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	var last [2]byte
	for p := make([]byte, 4096); !u.ended(); {
		n, err := res.Body.Read(p)
		if n > 1 {
			copy(last[:], p[n-2:n])
		}
		if err == io.EOF && string(last[:]) == "\n\n" {
			return
		}
		if err != nil {
			u.fault("events: %v after %q", err, last)
			return
		}
	}
}

// stop ends them, and reports what went wrong.
func (u *users) stop(t *testing.T, restarts int) {
	t.Helper()
	close(u.ending)
	u.tasks.Wait()
	t.Logf("the user made %d requests, %d streams of events ended", u.seen, u.listened-1)
	if len(u.faults) > 0 {
		t.Errorf("%d faults of users, such as %v", len(u.faults), u.faults[0])
	}
	if u.listened < restarts/2 {
		t.Errorf("only %d streams of events in %d restarts", u.listened, restarts)
	}
}

// attack sends so many requests a second over a transport until stop is called, which gives how many there were and
// which failed. Each third is a POST: with each second, one gateway of two would
// get them all.
func attack(base string, rate int, transport *http.Transport) (stop func() (sent int, bad map[string]int)) {
	var n atomic.Uint64
	target := func(t *vegeta.Target) error {
		i := n.Add(1)
		*t = vegeta.Target{Method: http.MethodGet, URL: fmt.Sprint(base, "/", i)}
		if i%3 == 0 {
			t.Method, t.Body = http.MethodPost, []byte("a body")
		}
		return nil
	}
	transport.MaxIdleConnsPerHost = 100
	attacker := vegeta.NewAttacker(vegeta.Client(&http.Client{Transport: transport, Timeout: 30 * time.Second}))
	results := attacker.Attack(target, vegeta.Rate{Freq: rate, Per: time.Second}, 0, "restarts") // without end
	sent, bad := 0, map[string]int{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for r := range results {
			sent++
			want := r.Method + " "
			if r.Method == http.MethodPost {
				want += "a body"
			}
			if r.Code != http.StatusOK || r.Error != "" || string(r.Body) != want {
				bad[fmt.Sprint(r.Method, ": ", r.Code, " ", r.Error, " ", strings.TrimSpace(string(r.Body)))]++
			}
		}
	}()
	return func() (int, map[string]int) {
		attacker.Stop()
		<-done
		transport.CloseIdleConnections()
		return sent, bad
	}
}

// restartsWanted is how many restarts there are, and under how many requests a second: GATEWAY_RESTARTS, which
// `make restarts` sets, at 300/s, or few beside other tests.
func restartsWanted() (restarts, rate int) {
	if restarts, err := strconv.Atoi(os.Getenv("GATEWAY_RESTARTS")); err == nil {
		return restarts, 300
	}
	return 2, 100
}

// releases are the gateways that restarts go between, N and N+1; beside other tests there is one, as it is.
type releases struct {
	paths  []string
	starts int
}

func newReleases(t *testing.T) *releases {
	t.Helper()
	r := &releases{}
	if os.Getenv("GATEWAY_RESTARTS") == "" {
		return r
	}
	for _, version := range []string{"v1.0.0", "v1.0.1"} {
		path := filepath.Join(t.TempDir(), version)
		out, err := exec.Command("go", "build", "-race", "-ldflags", "-X main.version="+version, "-o", path, ".").CombinedOutput()
		if err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
		r.paths = append(r.paths, path)
	}
	return r
}

// next makes a command run the next version.
func (r *releases) next(cmd *exec.Cmd) {
	if len(r.paths) > 0 {
		cmd.Path = r.paths[r.starts%len(r.paths)]
		cmd.Args[0] = cmd.Path
	}
	r.starts++
}

// Two gateways behind a balancer are restarted in turn, each time as another version: no request fails, nobody is logged out, and streams of events
// end between two events.
func TestRestartsUnderLoad(t *testing.T) {
	restarts, rate := restartsWanted()
	backend := httptest.NewServer(http.HandlerFunc(workaday))
	t.Cleanup(backend.Close)
	keys := filepath.Join(t.TempDir(), "session.keys")
	b := newBalancer([]*balanced{startBalanced(t, backend.URL, keys), startBalanced(t, backend.URL, keys)})
	front := httptest.NewServer(&b.proxy)
	t.Cleanup(front.Close)
	end := make(chan struct{})
	var polls sync.WaitGroup
	t.Cleanup(func() {
		close(end)
		polls.Wait()
	})
	for _, g := range b.gateways {
		polls.Go(func() { g.poll(end) })
	}
	env.Eventually(t, env.Patience, func() error {
		for _, g := range b.gateways {
			if !g.ready.Load() {
				return fmt.Errorf("%s is not ready", g.admin)
			}
		}
		return nil
	})

	users := newUsers(t, front.URL)
	stop := attack(front.URL, rate, &http.Transport{})
	began := time.Now()
	for i := range restarts {
		g := b.gateways[i%len(b.gateways)]
		g.inUse(t)
		g.signal(syscall.SIGTERM)
		if code := g.wait(20 * time.Second); code != 0 {
			t.Errorf("exit status %d", code)
		}
		g.start(t)
		g.inUse(t)
	}
	took := time.Since(began)
	users.stop(t, restarts)
	sent, bad := stop()
	t.Logf("%d restarts in %.1f s, %d requests", restarts, took.Seconds(), sent)
	if len(bad) > 0 {
		t.Errorf("failures: %v", bad)
	}
	if n := b.again.Load(); n > 0 {
		t.Errorf("%d requests had to be sent again", n)
	}
}

// One gateway is restarted, each time as another version, while its socket stays open: no request fails, nobody is logged
// out, and streams of events end between two events.
func TestRestartsBySocketActivation(t *testing.T) {
	t.Parallel()
	restarts, rate := restartsWanted()
	backend := httptest.NewServer(http.HandlerFunc(workaday))
	t.Cleanup(backend.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	config := restartable(t, backend.URL, filepath.Join(t.TempDir(), "session.keys"), "1s")
	releases := newReleases(t)
	run := func() *gatewayProcess {
		set := func(cmd *exec.Cmd) {
			releases.next(cmd)
			passSockets(t, cmd, []string{"http"}, l)
		}
		g := launchAs(t, set,
			"run", "--config", config, "--listen", "systemd:http", "--admin", "127.0.0.1:0")
		g.serving()
		return g
	}
	g := run()
	users := newUsers(t, g.base)
	stop := attack(g.base, rate, &http.Transport{})
	for range restarts {
		time.Sleep(500 * time.Millisecond)
		g.signal(syscall.SIGTERM)
		if code := g.wait(20 * time.Second); code != 0 {
			t.Errorf("exit status %d", code)
		}
		g = run()
	}
	time.Sleep(500 * time.Millisecond)
	users.stop(t, restarts)
	sent, bad := stop()
	t.Logf("%d restarts, %d requests", restarts, sent)
	if len(bad) > 0 {
		t.Errorf("failures: %v", bad)
	}
}
