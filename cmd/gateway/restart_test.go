package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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

// fixedAddr is a free address, which stays free while a gateway restarts.
func fixedAddr(t *testing.T) string {
	t.Helper()
	return "127.0.0.1:" + env.FreePort(t)
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
server: {data_dir: ./data, timeouts: {lame_duck: %s, drain: 5s, read_header: 30s}}
session: {cookie: {name: gw, secure: false}, keys_file: %q}
upstreams:
  app: {targets: [%q], concurrency: {wait: 30s}}
routes:
  - {name: login, match: {path: /login}, upstream: app, session: optional, session_signal: true}
  - {name: me, match: {path: /me}, upstream: app, session: optional}
  - {name: all, match: {path: "/{rest...}"}, upstream: app}
`

// workaday is a backend that takes some time and sends back what it was sent, logs users in, and has a stream of events.
func workaday(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/login":
		w.Header().Set("X-Gw-Session", `login {"user":"7"}`)
		return
	case "/me":
		if r.Header.Get("X-Gw-Identity") == "" {
			w.WriteHeader(http.StatusUnauthorized)
		}
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
	client         *http.Client
	ending         chan struct{}
	tasks          sync.WaitGroup
	seen, listened int      // requests of the first, streams of the second; valid after stop
	faults         []string // guarded by mu
	mu             sync.Mutex
}

func newUsers(t *testing.T, base string, client *http.Client) *users {
	t.Helper()
	u := &users{client: client, ending: make(chan struct{})}
	res, err := client.Post(base+"/login", "", nil)
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
	res, err := u.client.Do(req)
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
	req, _ := http.NewRequest(http.MethodGet, url, nil) // url can be parsed
	req.Header.Set("Accept", "text/event-stream")
	res, err := u.client.Do(req)
	if err != nil {
		u.fault("events: %v", err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	last := [2]byte{'\n', '\n'} // a stream may end before its first event
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
	if u.listened-1 < restarts/2 {
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

// balanced is one of the gateways of deploy/compose, with an address of its own.
type balanced struct {
	*gatewayProcess
	ip, config string
	env        []string
	releases   *releases
}

// start runs the gateway until it serves and is ready.
func (g *balanced) start(t *testing.T) {
	t.Helper()
	set := func(cmd *exec.Cmd) {
		g.releases.next(cmd)
		cmd.Env = append(cmd.Env, g.env...)
	}
	g.gatewayProcess = launchAs(t, set, "run", "--config", g.config)
	g.serving()
	g.ready(t)
}

// ready waits until /readyz says so.
func (g *balanced) ready(t *testing.T) {
	t.Helper()
	env.Eventually(t, env.Patience, func() error {
		if a := g.get(g.admin + "/readyz?verbose"); a.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", a.body)
		}
		return nil
	})
}

// startCompose runs what deploy/compose does, without containers: two gateways and HAProxy, each with an address of
// its own. It returns the URL of HTTPS, and what trusts its certificate.
func startCompose(t *testing.T, backend string) (gateways []*balanced, base string, trust *tls.Config) {
	t.Helper()
	proxy, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatal("apt-get install haproxy")
	}
	dir, redis, ca := t.TempDir(), env.Redis(t), env.NewCA(t)
	files := ca.Issue(t, "localhost")
	ports := make(map[string]string) // the container's, and which one is free here
	for _, port := range []string{"8443", "8080", "9901", "9902", "443", "80"} {
		ports[port] = env.FreePort(t)
	}
	read := func(name string, replace ...string) string {
		text, err := os.ReadFile("../../deploy/compose/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.NewReplacer(replace...).Replace(string(text))
	}
	releases := newReleases(t)
	for _, ip := range []string{"127.77.0.1", "127.77.0.2"} {
		data := filepath.Join(dir, ip)
		config := filepath.Join(data, "gateway.yaml")
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		writePolicy(t, config, read("gateway.yaml",
			`":8443"`, `"`+ip+":"+ports["8443"]+`"`, `":8080"`, `"`+ip+":"+ports["8080"]+`"`, `":9901"`, `"`+ip+":"+ports["9901"]+`"`, ":9902", ":"+ports["9902"],
			"/data", data, "/keys", dir, "tls/tls.crt", files.Cert, "tls/tls.key", files.Key, "http://flask:5000", backend,
			"[10.0.0.0/8,", "[127.0.0.0/8, 10.0.0.0/8,", "redirect_port: 443", "redirect_port: "+ports["443"], "drain: 20s", "drain: 20s, read_header: 30s", "{path: /healthz}", "{path: /healthz}, concurrency: {wait: 30s}", "rate: 600/min, burst: 300", "rate: 100000/s"))
		g := &balanced{ip: ip, config: config, releases: releases, env: []string{"GATEWAY_NAME=" + ip, "REDIS_URL=" + redis.URL}}
		g.start(t)
		gateways = append(gateways, g)
	}
	config := filepath.Join(dir, "haproxy.cfg")
	writePolicy(t, config, read("haproxy.cfg", " resolvers docker init-addr libc,none", "",
		"gateway-1", gateways[0].ip, "gateway-2", gateways[1].ip, ":8443", ":"+ports["8443"], ":8080", ":"+ports["8080"],
		"port 9901", "port "+ports["9901"], "bind :443", "bind 127.0.0.1:"+ports["443"], "bind :80", "bind 127.0.0.1:"+ports["80"]))
	p := env.Start(t, exec.Command(proxy, "-db", "-f", config))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("haproxy:\n%s\na gateway:\n%s", p.Output(), gateways[0].stderr.String())
		}
	})
	trust = &tls.Config{RootCAs: ca.Pool}
	base = "https://localhost:" + ports["443"]
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}}
	if err := p.Await(func() error {
		res, err := client.Get(base + "/")
		if err != nil {
			return err
		}
		return res.Body.Close()
	}); err != nil {
		t.Fatal(err)
	}
	return gateways, base, trust
}

// Two gateways behind a balancer, as in deploy/compose, are restarted in turn, each time as another version: no request
// fails, nobody is logged out, and streams of events end between two events.
func TestRestartsUnderLoad(t *testing.T) { // alone: a load beside other tests says nothing
	restarts, rate := restartsWanted()
	backend := httptest.NewServer(http.HandlerFunc(workaday))
	t.Cleanup(backend.Close)
	gateways, base, trust := startCompose(t, backend.URL)
	users := newUsers(t, base, &http.Client{Transport: &http.Transport{TLSClientConfig: trust}})
	stop := attack(base, rate, &http.Transport{TLSClientConfig: trust})
	began := time.Now()
	for i := range restarts {
		g := gateways[i%len(gateways)]
		time.Sleep(2 * time.Second) // until the balancer uses it
		g.signal(syscall.SIGTERM)
		if code := g.wait(40 * time.Second); code != 0 {
			t.Errorf("exit status %d", code)
		}
		g.start(t)
	}
	took := time.Since(began)
	users.stop(t, restarts)
	sent, bad := stop()
	t.Logf("%d restarts in %.1f s, %d requests", restarts, took.Seconds(), sent)
	if len(bad) > 0 {
		t.Errorf("failures: %v", bad)
	}
}

// One gateway is restarted, each time as another version, while its socket stays open: no GET fails, nobody is logged
// out, and streams of events end between two events. A POST may meet a connection that is idle and just closing, as with
// any server, since its client does not send it again.
func TestRestartsBySocketActivation(t *testing.T) { // alone: a load beside other tests says nothing
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
	users := newUsers(t, g.base, http.DefaultClient)
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
	posts := 0
	for what, n := range bad {
		if strings.HasPrefix(what, "POST: 0 ") {
			posts += n
			continue
		}
		t.Errorf("%d of %s", n, what)
	}
	t.Logf("%d restarts, %d requests, %d POSTs met a closing connection", restarts, sent, posts)
	if posts > sent/1000 {
		t.Errorf("%d POSTs failed", posts)
	}
}
