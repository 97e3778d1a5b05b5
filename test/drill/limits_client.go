package drill

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// limitsClient is one client of one route, which it asks through all gateways in
// turn.
type limitsClient struct {
	name     string // X-Client
	route    LimitsRoute
	greedy   bool
	attacker *vegeta.Attacker
	ended    sync.WaitGroup

	// Counted by the one goroutine that ended waits for.
	sent, admitted, refused int
	failed                  []string
}

// startClient sends what the tightest limit of the route admits, times greed, or
// four fifths of it.
func (d *limitsDrill) startClient(route LimitsRoute, greedy bool) *limitsClient {
	c := &limitsClient{route: route, greedy: greedy, name: "polite" + strings.ReplaceAll(route.Path, "/", "-")}
	tightest := route.Limits[0].Quota
	for _, l := range route.Limits {
		if l.Quota.Interval() > tightest.Interval() {
			tightest = l.Quota
		}
	}
	rate := vegeta.Rate{Freq: tightest.Rate * 4, Per: 5 * tightest.Period}
	if greedy {
		c.name = "greedy" + strings.ReplaceAll(route.Path, "/", "-")
		rate = vegeta.Rate{Freq: greed * tightest.Rate, Per: tightest.Period}
	}
	var mu sync.Mutex // the attacker's workers share the turn
	turn := 0
	target := func(t *vegeta.Target) error {
		mu.Lock()
		turn++
		url := d.Gateways[turn%len(d.Gateways)].URL
		mu.Unlock()
		*t = vegeta.Target{Method: http.MethodGet, URL: url + route.Path, Header: http.Header{
			"X-Client": {c.name}, "X-Sent": {strconv.FormatInt(int64(d.Upstream.now()), 10)},
		}}
		return nil
	}
	c.attacker = vegeta.NewAttacker(vegeta.Timeout(10*time.Second), vegeta.MaxWorkers(64))
	results := c.attacker.Attack(target, rate, longest, c.name)
	c.ended.Go(func() {
		for r := range results {
			c.add(r)
		}
	})
	return c
}

func (c *limitsClient) add(r *vegeta.Result) {
	c.sent++
	switch {
	case r.Code >= 200 && r.Code < 300:
		c.admitted++
	case r.Code == http.StatusTooManyRequests:
		c.refused++
	default:
		c.failed = append(c.failed, fmt.Sprint(r.Code, " ", r.Error))
	}
}

// stop ends the attack; then its counts may be read.
func (c *limitsClient) stop() {
	c.attacker.Stop()
	c.ended.Wait()
}
