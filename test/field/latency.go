package field

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// settle is how long the client opens its connections before times count: handshakes of TLS would be a
// large part of the slowest.
const settle = 300 * time.Millisecond

// latency sends requests at a fixed rate, and returns the median and the 99th percentile.
func latency(c Case, s *server, run string, perSecond int, round time.Duration, config *tls.Config) (p50, p99 time.Duration, err error) {
	n, others := 0, 0
	target := func(t *vegeta.Target) error { // called by one goroutine at a time
		n++
		t.Method, t.URL = http.MethodGet, s.url+c.Path
		if c.misses {
			t.URL += "?miss=" + run + "-" + strconv.Itoa(n)
		}
		return nil
	}
	attacker := vegeta.NewAttacker(vegeta.Timeout(10*time.Second), vegeta.TLSConfig(config), vegeta.HTTP2(false),
		vegeta.Workers(8), vegeta.MaxWorkers(64))
	var took []time.Duration
	start := time.Now()
	for r := range attacker.Attack(target, vegeta.Rate{Freq: perSecond, Per: time.Second}, settle+round, "bench") {
		if int(r.Code) == c.Status {
			if r.Timestamp.Sub(start) >= settle {
				took = append(took, r.Latency)
			}
			continue
		}
		if others++; c.Status < 400 || others > spare {
			err = fmt.Errorf("status %d at a fixed rate, want %d: %s", r.Code, c.Status, r.Error)
		}
	}
	if len(took) == 0 {
		return 0, 0, fmt.Errorf("no request within %v", round)
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100], err
}
