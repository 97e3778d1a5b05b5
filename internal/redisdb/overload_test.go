package redisdb_test

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

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/redisdb"
	"github.com/jewgo/gateway/internal/testenv"
)

// TestThousandCallersWhileRedisHangs is what a burst meets that arrives just as a
// server freezes, with the defaults of budget and pool: nobody waits for much more
// than the budget, however few connections there are, and nothing piles up.
func TestThousandCallersWhileRedisHangs(t *testing.T) {
	const callers, each, budget = 1000, 20, 50 * time.Millisecond
	for _, topology := range []string{"redis", "redis+cluster"} {
		t.Run(topology, func(t *testing.T) {
			var server *testenv.RedisServer
			if topology == "redis" {
				server = testenv.Redis(t)
			} else {
				server = testenv.Redis(t, "--cluster-enabled", "yes")
				admin(t, server, "CLUSTER ADDSLOTSRANGE 0 16383")
			}
			g := newGateway(t, redisdb.Config{URL: topology + "://" + server.Addr, Budget: budget})
			g.mustBecome(t, failover.Up)
			g.mustTakeRemotely(t)
			before := runtime.NumGoroutine()
			most := watchGoroutines(t)
			l := &load{g: g}
			server.Stop()
			for caller := range callers {
				l.wait.Go(func() {
					for range each {
						l.call(fmt.Sprint(caller))
					}
				})
			}
			l.wait.Wait()
			peak := most() - before - callers
			slices.Sort(l.took)
			// The others came when the server was given up.
			first := l.took[len(l.took)-callers:]
			t.Logf("%d calls; the %d longest: p50 %v, p99 %v, longest %v; %d goroutines beside the callers",
				len(l.took), callers, first[callers/2], first[callers*99/100], first[callers-1], peak)
			if p99 := first[callers*99/100]; p99 > 10*budget {
				t.Errorf("p99 %v with a budget of %v", p99, budget)
			}
			if len(l.errs) > 0 || l.remote > 0 {
				t.Errorf("%d errors, %d calls answered by Redis", len(l.errs), l.remote)
			}
			if peak > callers { // each deadline that passes takes one for a moment, each connection a few
				t.Errorf("%d goroutines beside the %d callers", peak, callers)
			}
			server.Cont()
			g.mustReturn(t, 0, recovery)
			for deadline := time.Now().Add(recovery); runtime.NumGoroutine() > before+10; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d goroutines are left, before there were %d", runtime.NumGoroutine(), before)
				}
			}
		})
	}
}

// watchGoroutines counts until it is asked for the most that it has seen.
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

// namespace is a network of its own with one server in it. What lies between can
// be cut, so that no packet arrives and nobody is told.
type namespace struct {
	name, near, far       string // the namespace, and the two ends of the link
	nearAddr, farAddr     string
	nearHardware, farHard string
}

// newNamespace skips the test where there may be no namespaces.
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
		nearAddr: "198.18.77.1", farAddr: "198.18.77.2", // of the range for benchmarks, RFC 2544
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

// cut makes both ends send to a card that nobody has.
func (n *namespace) cut(t *testing.T) { n.neighbours(t, "02:00:00:00:77:ff", "02:00:00:00:77:ff") }

// mend lets packets arrive again.
func (n *namespace) mend(t *testing.T) { n.neighbours(t, n.nearHardware, n.farHard) }

func (n *namespace) neighbours(t *testing.T, near, far string) {
	t.Helper()
	n.ip(t, "neigh", "replace", n.farAddr, "lladdr", far, "dev", n.near, "nud", "permanent")
	n.ip(t, "-n", n.name, "neigh", "replace", n.nearAddr, "lladdr", near, "dev", n.far, "nud", "permanent")
}

// TestNetworkCut loses all packets in both directions: nothing is refused, and no
// connection ends.
func TestNetworkCut(t *testing.T) {
	n := newNamespace(t)
	server := testenv.RedisIn(t, n.name, n.farAddr)
	g := newGateway(t, redisdb.Config{URL: server.URL, Budget: callBudget})
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
			if reason := g.mustBecome(t, failover.Down); redisdb.Classify(reason) != failover.Timeout {
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
