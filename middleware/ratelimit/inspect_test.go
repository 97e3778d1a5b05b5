package ratelimit_test

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/middleware/ratelimit"
)

const inspectPolicy = `
version: 1
upstreams:
  app: {targets: ["http://127.0.0.1:1"]}
limits:
  address: {key: client_ip, rate: 1/h, ipv6_prefix: 128}
  network: {key: client_ip, rate: 1/h}
  header: {key: "header:X-Key", rate: 1/h, missing: client_ip, overrides: [{key: special, rate: 7/h}]}
  host: {key: host, rate: 1/h}
  both: {key: [client_ip, "header:X-Key"], rate: 1/h, missing: client_ip}
  tiers: {key: client_ip, rate: 1/h, tiers: {premium: {rate: 2/h}}, overrides: [{key: 192.0.2.0/24, rate: 7/h}]}
routes:
  - {name: all, match: {path: /}, upstream: app, limits: [address, network, header, host, both, tiers]}
`

// An operator's notation of a key gives the bucket that requests use.
func TestBucketsOf(t *testing.T) {
	snapshot := newLimiterOf(t, inspectPolicy).snapshot
	client := func(text string) func(*exchange.Exchange) {
		return func(ex *exchange.Exchange) { ex.View.Client, _ = netip.ParseAddr(text) }
	}
	key := func(ex *exchange.Exchange) { ex.View.Header.(http.Header).Set("X-Key", "k") }
	special := func(ex *exchange.Exchange) { ex.View.Header.(http.Header).Set("X-Key", "special") }
	for _, tc := range []struct {
		limit   string
		parts   []string
		request []func(*exchange.Exchange)
		rate    int
	}{
		{"address", []string{"::ffff:192.0.2.1"}, []func(*exchange.Exchange){client("192.0.2.1")}, 1},
		{"address", []string{"2001:db8:0::1"}, []func(*exchange.Exchange){client("2001:db8::1")}, 1},
		{"address", []string{"local"}, []func(*exchange.Exchange){client("")}, 1},
		{"network", []string{"2001:db8::1"}, []func(*exchange.Exchange){client("2001:db8::2")}, 1},
		{"network", []string{"2001:db8::/64"}, []func(*exchange.Exchange){client("2001:db8::2")}, 1},
		{"header", []string{"k"}, []func(*exchange.Exchange){key}, 1},
		{"header", []string{"special"}, []func(*exchange.Exchange){special}, 7},
		{"header", []string{"ip:192.0.2.1"}, []func(*exchange.Exchange){client("192.0.2.1")}, 1},
		{"host", []string{"LOCALHOST."}, nil, 1},
		{"both", []string{"192.0.2.1", "k"}, []func(*exchange.Exchange){client("192.0.2.1"), key}, 1},
		{"both", []string{"192.0.2.1"}, []func(*exchange.Exchange){client("192.0.2.1")}, 1},
		{"tiers", []string{"198.51.100.1"}, []func(*exchange.Exchange){client("198.51.100.1")}, 1},
		{"tiers", []string{"198.51.100.1"}, []func(*exchange.Exchange){client("198.51.100.1"), withRole("u", "premium")}, 2},
		{"tiers", []string{"192.0.2.1"}, []func(*exchange.Exchange){client("192.0.2.1"), withRole("u", "premium")}, 7},
	} {
		var charged []ratelimit.Charge
		l := &limiter{t: t, snapshot: snapshot, status: http.StatusOK, store: recorded{&charged}}
		l.get("/", tc.request...)
		buckets, err := ratelimit.BucketsOf(snapshot.Limits[tc.limit], tc.parts)
		if err != nil {
			t.Errorf("%s %q: %v", tc.limit, tc.parts, err)
			continue
		}
		found := false
		for _, c := range charged {
			for _, b := range buckets {
				found = found || c.Key == b.Key && c.Quota == b.Quota && c.Quota.Rate == tc.rate
			}
		}
		if !found {
			t.Errorf("%s %q: %+v, none of which is charged: %+v", tc.limit, tc.parts, buckets, charged)
		}
		for _, c := range charged { // every charged bucket can be looked up
			limit := snapshot.Limits[ratelimit.LimitOf(c.Key)]
			buckets, err := ratelimit.BucketsOf(limit, []string{c.Key})
			if err != nil || len(buckets) != 1 || buckets[0].Key != c.Key || buckets[0].Quota != c.Quota && !limit.HasOverrides() {
				t.Errorf("%+v: %+v, %v", c, buckets, err)
			}
		}
	}
	for limit, parts := range map[string][]string{
		"address": {"fe80::1%eth0"}, "network": {"x"}, "header": {""}, "host": {}, "both": {"192.0.2.1", "k", "more"},
	} {
		if buckets, err := ratelimit.BucketsOf(snapshot.Limits[limit], parts); !errors.Is(err, ratelimit.ErrKey) {
			t.Errorf("%s %q: %+v, %v", limit, parts, buckets, err)
		}
	}
	// Near misses are neither buckets nor addresses.
	for _, key := range []string{
		"network|", "network|3:192", "network|9:192.0.2.1|", "network|9:192.0.2.1|1:x", "network|9:192.0.2.10", "network|-1:", "network|x:",
		"network|13:2001:db8::1/64", "network|ip:192.0.2.1x", "network|#abc", "network|@7:premium|9:192.0.2.1", "tiers|@4:none|9:192.0.2.1",
		"tiers|@7:premium", "tiers|@9:premium", "address|9:192.0.2.1",
	} {
		limit, parts := "network", []string{key}
		if strings.HasPrefix(key, "tiers|") {
			limit = "tiers"
		}
		if buckets, err := ratelimit.BucketsOf(snapshot.Limits[limit], parts); !errors.Is(err, ratelimit.ErrKey) {
			t.Errorf("%s %q: %+v, %v", limit, parts, buckets, err)
		}
	}
}

// recorded admits everything and remembers it.
type recorded struct{ charges *[]ratelimit.Charge }

func (s recorded) Take(_ context.Context, charges []ratelimit.Charge, results []gcra.Result) ([]gcra.Result, error) {
	*s.charges = append(*s.charges, charges...)
	for range charges {
		results = append(results, gcra.Result{Allowed: true})
	}
	return results, nil
}

func (recorded) Refund(context.Context, []ratelimit.Charge) error { return nil }

// API keys and tokens appear neither in Redis nor in a list of the hottest keys.
func TestSecretsAreNoKeys(t *testing.T) {
	l := newLimiter(t)
	var keys []string
	l.store = ratelimit.New(ratelimit.Config{
		Local: ratelimit.NewTable(1000), Replicas: func() int { return 1 }, Now: func() time.Time { return l.now },
		Count: func(c ratelimit.Charge, _ ratelimit.Decider, _ bool) { keys = append(keys, c.Key) },
	})
	l.get("/keyed", header("X-Key", "hunter2"))
	l.get("/both")
	if len(keys) != 2 || strings.Contains(keys[0], "hunter2") || !strings.HasPrefix(keys[0], "keyed|") || keys[1] != "anonymous|9:192.0.2.1" {
		t.Errorf("keys %q", keys)
	}
}
