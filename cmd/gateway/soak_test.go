package main

import (
	"bufio"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/jewgo/gateway/internal/drill"
	"github.com/jewgo/gateway/internal/faultproxy"
	"github.com/jewgo/gateway/internal/testenv"
)

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
// memory nor goroutines. GATEWAY_SOAK says for how long; `make soak` does.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("GATEWAY_SOAK"))
	if err != nil {
		t.Skip("GATEWAY_SOAK names no duration; make soak does")
	}
	proxy, err := faultproxy.Listen(testenv.Redis(t).Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	g := startJewGo(t, proxy.URL())
	g.readyz(t, "ok")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	mix := drill.NewMix(g.base, g.login("198.51.100.70"), seed)
	attacker := vegeta.NewAttacker(vegeta.Timeout(10*time.Second), vegeta.MaxWorkers(100))
	results := attacker.Attack(mix.Target, vegeta.Rate{Freq: 100, Per: time.Second}, length, "soak")
	done := make(chan tally)
	go func() {
		var all tally
		for r := range results {
			all.add(r)
		}
		done <- all
	}()

	var heap []float64 // the least of ten seconds each, which is what is in use
	faults := faultproxy.Faults()
	before := g.metric(t, "go_goroutines")
	for end := time.Now().Add(length); time.Now().Before(end); {
		least := 0.0
		for range 10 {
			if err := proxy.Set(faults[random.IntN(len(faults))].Fault); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(200+random.IntN(600)) * time.Millisecond)
			if err := proxy.Heal(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(200+random.IntN(600)) * time.Millisecond)
			if n := g.metric(t, "go_memstats_heap_alloc_bytes"); least == 0 || n < least {
				least = n
			}
		}
		heap = append(heap, least)
	}
	all := <-done
	if len(all.bad) > 0 {
		t.Errorf("failures %v", all.bad)
	}
	g.readyz(t, "ok")
	time.Sleep(2 * time.Second)
	after := g.metric(t, "go_goroutines")
	// The first third fills the caches.
	third := len(heap) / 3
	first, last := median(heap[third:2*third]), median(heap[2*third:])
	t.Logf("%d requests, %d hits; heap in use %.1f MB, then %.1f MB; goroutines %.0f, then %.0f", all.total, all.hits, first/1e6, last/1e6, before, after)
	if last > first*1.1+4e6 {
		t.Errorf("the heap grows: %.0f", heap)
	}
	if after > before+50 { // connections that are kept alive have two each
		t.Errorf("%.0f goroutines, %.0f at first", after, before)
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
