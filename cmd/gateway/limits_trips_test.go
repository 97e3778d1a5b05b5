package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/faultproxy"
)

// tripsPolicy has routes with one limit, with many, and with a lease; the Redis
// and the upstream are filled in.
const tripsPolicy = `
version: 1
server: {data_dir: ./data}
redis: {url: %q, budget: 500ms}
upstreams:
  app: {targets: [%q]}
limits:
  a: {key: "header:X-Client", rate: 1000/h}
  b: {key: [client_ip, "header:X-Client"], rate: 2000/h}
  c: {key: client_ip, rate: 3000/h}
  d: {key: host, rate: 4000/h, shadow: true}
  leased: {key: "header:X-Client", rate: 1000/h, lease: 100}
  exact: {key: "header:X-Client", rate: 1000/h, lease: off}
  few: {key: "header:X-Client", rate: 3/h}
routes:
  - {name: one, match: {path: /one}, upstream: app, limits: [a]}
  - {name: many, match: {path: /many}, upstream: app, limits: [a, b, c, d]}
  - {name: leased, match: {path: /leased}, upstream: app, limits: [leased]}
  - {name: exact, match: {path: /exact}, upstream: app, limits: [exact]}
  - {name: few, match: {path: /few}, upstream: app, limits: [few, a]}
`

// What a limited request costs is counted on the wire.
func TestRoundTripsOfLimits(t *testing.T) {
	t.Parallel()
	proxy, err := faultproxy.Listen(env.Redis(t).Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	// What goes on beside requests: the probe, the roll call, resets, purges.
	proxy.SetAside("gw:{epoch}", "gw:{peers}", "gw:{resets}:count")
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(upstream.Close)
	here, there := policyFolder(t)
	writePolicy(t, filepath.Join(here, "trips.yaml"), fmt.Sprintf(tripsPolicy, proxy.URL(), upstream.URL))
	own(t, here)
	g := start(t, nil, "run", "--config", filepath.Join(there, "trips.yaml"))
	g.stderr.await(t, "redis is in use")                                          // a start waits for it for a moment at most
	for _, path := range []string{"/one", "/many", "/leased", "/exact", "/few"} { // loads the scripts
		g.get(path, "X-Client", "first")
	}
	for _, tt := range []struct {
		sentence, path string
		before, n      int
		most           int64
		status         int
	}{
		{"one limit without a lease is one round trip", "/exact", 0, 10, 10, http.StatusOK},
		{"one limit is one in 51, since a twentieth of its burst is prepaid", "/one", 2, 99, 2, http.StatusOK},
		{"several limits are one too", "/many", 0, 10, 10, http.StatusOK},
		{"under a lease there is none", "/leased", 2, 90, 0, http.StatusOK},
		{"nor under a known refusal", "/few", 4, 50, 0, http.StatusTooManyRequests},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			for range tt.before {
				g.get(tt.path, "X-Client", tt.sentence)
			}
			proxy.ResetStats()
			for range tt.n {
				if res := g.get(tt.path, "X-Client", tt.sentence); res.StatusCode != tt.status {
					t.Fatalf("%s", res.Status)
				}
			}
			s := proxy.Stats()
			trips := s.RoundTrips - s.Commands["INFO"] - s.Commands["CONFIG"] // by which the gateway checks Redis
			if trips > tt.most || tt.most > 0 && trips == 0 {
				t.Errorf("%d requests made %d round trips, want %d: %v", tt.n, trips, tt.most, s.Commands)
			}
		})
	}
}
