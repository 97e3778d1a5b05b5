package redis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/faultproxy"
)

// TestThousandCallersWhileRedisHangs sends a burst just as a server freezes, or as packets begin to
// vanish, with the default budget and pool. No call waits for much longer than the budget, although
// there are few connections. The goroutines beside the callers are bounded by the turns of the
// Switch, not by the number of callers.
func TestThousandCallersWhileRedisHangs(t *testing.T) {
	const each, budget = 20, 50 * time.Millisecond
	for _, tt := range []struct {
		name string
		url  func(t *testing.T) (url string, hang, heal func())
	}{
		{"a server that is stopped", func(t *testing.T) (string, func(), func()) {
			server := env.Redis(t)
			return server.URL, server.Stop, server.Cont
		}},
		{"a node of a cluster that is stopped", func(t *testing.T) (string, func(), func()) {
			server := env.Redis(t, "--cluster-enabled", "yes")
			admin(t, server, "CLUSTER ADDSLOTSRANGE 0 16383")
			return "redis+cluster://" + server.Addr, server.Stop, server.Cont
		}},
		{"a black hole", func(t *testing.T) (string, func(), func()) { return blackhole(t, env.Redis(t)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, hang, heal := tt.url(t)
			g := newGateway(t, redis.Config{URL: url, Budget: budget})
			g.mustServe(t)
			l := &load{g: g}
			before, since := runtime.NumGoroutine(), g.Status().Generation
			hang()
			begin, peak := time.Now(), l.burst(t, each)
			slices.Sort(l.took)
			// The others came after the trip.
			first := l.took[len(l.took)-burstCallers:]
			ceiling := goroutineCeiling(g)
			t.Logf("%d calls in %v; the %d longest: p50 %v, p99 %v, longest %v; %d goroutines beside the callers, of at most %d; %d got no turn",
				len(l.took), time.Since(begin), burstCallers, first[burstCallers/2], first[burstCallers*99/100], first[burstCallers-1],
				peak-before, ceiling, g.Status().Counts.Crowded)
			if p99 := first[burstCallers*99/100]; p99 > 20*budget { // a busy machine adds most of it
				t.Errorf("p99 %v with a budget of %v", p99, budget)
			}
			if len(l.errs) > 0 || l.remote > 0 {
				t.Errorf("%d errors, %d calls answered by Redis", len(l.errs), l.remote)
			}
			if peak-before > ceiling {
				t.Errorf("%d goroutines beside the %d callers, want at most %d", peak-before, burstCallers, ceiling)
			}
			heal()
			g.mustReturn(t, since, recovery)
			env.Eventually(t, recovery, func() error {
				if n := runtime.NumGoroutine(); n > before+10 {
					return fmt.Errorf("%d goroutines are left, before there were %d", n, before)
				}
				return nil
			})
		})
	}
}

// burstCallers is the number of concurrent callers.
const burstCallers = 1000

// goroutineCeiling bounds the goroutines that one hanging node may cost: for each running call the
// one that ends its context; for each connection being made the one that dials, the one that would
// interrupt it, and those that end the two contexts of a dial; and a few permanent ones.
func goroutineCeiling(g *gateway) int {
	turns := redis.InFlight(g.client)
	pool := turns / 2
	if _, ok := g.client.(*goredis.ClusterClient); ok {
		pool = turns / 4
	}
	return turns + 4*pool + 10
}

// burst starts all callers at once, each with the given number of calls, and ends them together, so
// that none is missing from the count. It returns the largest number of goroutines seen, without
// the callers.
func (l *load) burst(t *testing.T, each int) (peak int) {
	begin, end := make(chan struct{}), make(chan struct{})
	var calls sync.WaitGroup
	for caller := range burstCallers {
		calls.Add(1)
		l.wait.Go(func() {
			<-begin
			for range each {
				l.call(fmt.Sprint(caller))
			}
			calls.Done()
			<-end
		})
	}
	most := watchGoroutines(t)
	close(begin)
	calls.Wait()
	peak = most() - burstCallers - 1 // the watcher
	close(end)
	l.wait.Wait()
	return peak
}

// blackhole puts a proxy before the server, and returns a function that makes packets vanish there.
// The proxy's goroutines end with its connections.
func blackhole(t *testing.T, server *env.RedisServer) (url string, hang, heal func()) {
	t.Helper()
	proxy, err := faultproxy.Listen(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Errorf("close the proxy: %v", err)
		}
	})
	hang = func() {
		if err := proxy.Set(faultproxy.Fault{Link: faultproxy.Blackhole}); err != nil {
			t.Fatal(err)
		}
	}
	heal = func() {
		if err := proxy.Heal(); err != nil {
			t.Fatal(err)
		}
	}
	return proxy.URL(), hang, heal
}

// TestThousandCallersOfAHealthyRedis checks that callers queue for their turns: Redis answers all,
// and none is turned away because of the crowd.
func TestThousandCallersOfAHealthyRedis(t *testing.T) {
	g := newGateway(t, redis.Config{URL: env.Redis(t).URL, Budget: recovery})
	g.mustBecome(t, failover.Up)
	since := g.Status().Generation
	l := &load{g: g}
	l.burst(t, 5)
	slices.Sort(l.took)
	n := len(l.took)
	t.Logf("%d calls: p50 %v, p99 %v, longest %v", n, l.took[n/2], l.took[n*99/100], l.took[n-1])
	if c := g.Status().Counts; l.remote != n || len(l.errs) > 0 || c.Crowded > 0 || g.Status().Generation != since {
		t.Errorf("of %d calls Redis answered %d: %+v", n, l.remote, g.Status())
	}
}

// watchGoroutines counts goroutines and returns the maximum when asked.
func watchGoroutines(t *testing.T) (most func() int) {
	ctx, stop := context.WithCancel(t.Context())
	n := 0
	var watch sync.WaitGroup
	watch.Go(func() {
		for ctx.Err() == nil {
			n = max(n, runtime.NumGoroutine())
			time.Sleep(time.Millisecond)
		}
	})
	return func() int {
		stop()
		watch.Wait()
		return n
	}
}

// namespace is a separate network with one server in it. The link to it can be cut, so that packets
// vanish silently.
type namespace struct {
	name, near, far       string // the namespace, and the two ends of the link
	nearAddr, farAddr     string
	nearHardware, farHard string
}

// newNamespace skips the test if namespaces are not allowed.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a network cut needs root, for a network namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("a network cut needs ip (Debian: apt-get install iproute2)")
	}
	id := fmt.Sprintf("%x", os.Getpid())
	n := &namespace{
		name: "gw-" + id, near: "gwn" + id, far: "gwf" + id,
		nearAddr: "198.18.77.1", farAddr: "198.18.77.2", // from the benchmark range of RFC 2544
		nearHardware: "02:00:00:00:77:01", farHard: "02:00:00:00:77:02",
	}
	if out, err := exec.Command("ip", "netns", "add", n.name).CombinedOutput(); err != nil {
		t.Skipf("a network cut needs network namespaces: %v: %s", err, out)
	}
	t.Cleanup(func() { n.ip(t, "netns", "del", n.name) })
	if out, err := exec.Command("ip", "link", "add", n.near, "address", n.nearHardware, "type", "veth",
		"peer", "name", n.far, "address", n.farHard, "netns", n.name).CombinedOutput(); err != nil {
		t.Skipf("a network cut needs veth: %v: %s", err, out)
	}
	t.Cleanup(func() { n.ip(t, "link", "del", n.near) })
	n.ip(t, "addr", "add", n.nearAddr+"/30", "dev", n.near)
	n.ip(t, "link", "set", n.near, "up")
	n.ip(t, "-n", n.name, "addr", "add", n.farAddr+"/30", "dev", n.far)
	n.ip(t, "-n", n.name, "link", "set", n.far, "up")
	n.ip(t, "-n", n.name, "link", "set", "lo", "up")
	n.mend(t)
	return n
}

func (n *namespace) ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Errorf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// cut makes both ends send to a MAC address that does not exist.
func (n *namespace) cut(t *testing.T) { n.neighbours(t, "02:00:00:00:77:ff", "02:00:00:00:77:ff") }

// mend repairs the link.
func (n *namespace) mend(t *testing.T) { n.neighbours(t, n.nearHardware, n.farHard) }

func (n *namespace) neighbours(t *testing.T, near, far string) {
	t.Helper()
	n.ip(t, "neigh", "replace", n.farAddr, "lladdr", far, "dev", n.near, "nud", "permanent")
	n.ip(t, "-n", n.name, "neigh", "replace", n.nearAddr, "lladdr", near, "dev", n.far, "nud", "permanent")
}

// TestNetworkCut drops all packets in both directions: nothing is refused, and no connection ends.
func TestNetworkCut(t *testing.T) {
	t.Parallel()
	n := newNamespace(t)
	server := env.RedisIn(t, n.name, n.farAddr)
	g := newGateway(t, redis.Config{URL: server.URL, Budget: callBudget})
	g.mustBecome(t, failover.Up)
	for _, how := range []string{"for a moment", "for longer than connections wait"} {
		t.Run(how, func(t *testing.T) {
			since := g.Status().Generation
			l := newLoad(t, g)
			time.Sleep(200 * time.Millisecond)
			n.cut(t)
			if c, err := net.DialTimeout("tcp", server.Addr, 100*time.Millisecond); err == nil {
				c.Close()
				t.Fatal("the cut lets packets pass")
			}
			if reason := g.mustBecome(t, failover.Down); redis.Classify(reason) != failover.Timeout {
				t.Errorf("reason: %v", reason)
			}
			if how != "for a moment" {
				time.Sleep(1500 * time.Millisecond)
			}
			n.mend(t)
			g.mustReturn(t, since, recovery)
			l.end(t)
		})
	}
}
