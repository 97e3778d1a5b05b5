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
	ready         atomic.Bool   // what /readyz said last
	sent          atomic.Uint64 // requests, by the balancer
}

// start runs the gateway until it serves.
func (g *balanced) start(t *testing.T) {
	t.Helper()
	g.gatewayProcess = launch(t, nil, "run", "--config", g.config, "--listen", g.listen, "--admin", g.admin)
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
	g := b.gateways[0]
	for range b.gateways { // if none is ready, one gets the request all the same
		g = b.gateways[b.turn.Add(1)%uint64(len(b.gateways))]
		if g.ready.Load() {
			break
		}
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

// startBalanced serves restartPolicy in front of a backend, on fixed ports.
func startBalanced(t *testing.T, backend string) *balanced {
	t.Helper()
	here, there := policyFolder(t)
	writePolicy(t, filepath.Join(here, "gateway.yaml"), fmt.Sprintf(restartPolicy, backend))
	own(t, here)
	g := &balanced{listen: fixedAddr(t), admin: fixedAddr(t), config: filepath.Join(there, "gateway.yaml")}
	g.start(t)
	return g
}

var restartPolicy = drainPolicy("lame_duck: 3s, drain: 5s")

// workaday is a backend that takes some time and sends back what it was sent.
func workaday(w http.ResponseWriter, r *http.Request) {
	time.Sleep(10 * time.Millisecond)
	_, _ = fmt.Fprint(w, r.Method, " ")
	_, _ = io.Copy(w, r.Body)
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

// Two gateways behind a balancer are restarted in turn, and no request fails.
// GATEWAY_RESTARTS says how many restarts; `make restarts` does.
func TestRestartsUnderLoad(t *testing.T) {
	restarts, err := strconv.Atoi(os.Getenv("GATEWAY_RESTARTS"))
	rate := 300
	if err != nil {
		restarts, rate = 2, 100 // beside other tests
	}
	backend := httptest.NewServer(http.HandlerFunc(workaday))
	t.Cleanup(backend.Close)
	b := newBalancer([]*balanced{startBalanced(t, backend.URL), startBalanced(t, backend.URL)})
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
	sent, bad := stop()
	t.Logf("%d restarts in %.1f s, %d requests", restarts, took.Seconds(), sent)
	if len(bad) > 0 {
		t.Errorf("failures: %v", bad)
	}
	if n := b.again.Load(); n > 0 {
		t.Errorf("%d requests had to be sent again", n)
	}
}
