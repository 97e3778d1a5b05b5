package ratelimit_test

import (
	"net/http"
	"testing"

	"github.com/jewgo/gateway/internal/exchange"
)

const evadePolicy = `
version: 1
upstreams:
  app: {targets: ["http://127.0.0.1:1"]}
limits:
  tiers: {key: client_ip, rate: 60/min, burst: 2, tiers: {premium: {rate: 60/h, burst: 50}}}
  strict: {key: "header:X-Key", missing: deny, rate: 1/h, shadow: true}
  keyed: {key: "header:X-Key", missing: skip, rate: 1/h}
  either: {key: "header:X-Key", missing: client_ip, rate: 1/h, tiers: {premium: {rate: 2/h}}}
routes:
  - {name: tiers, match: {path: /tiers}, upstream: app, limits: [tiers]}
  - {name: strict, match: {path: /strict}, upstream: app, limits: [strict]}
  - {name: keyed, match: {path: /keyed}, upstream: app, limits: [keyed]}
  - {name: either, match: {path: /either}, upstream: app, limits: [either]}
`

// A bucket has one quota. If tiers shared one, a request of a tier with a faster bucket would cut
// down what was charged, and so give budget back to all tiers.
func TestTiersDoNotEmptyEachOthersBuckets(t *testing.T) {
	l := newLimiterOf(t, evadePolicy)
	passed := 0
	for range 3 {
		passed += l.admitted(60, "/tiers", withRole("u", "premium"))
		l.admitted(1, "/tiers") // without a session, from the same address
	}
	if passed != 50 {
		t.Errorf("%d of 180 passed in the tier with a burst of 50", passed)
	}
	for range 3 {
		if got := l.admitted(60, "/either", withRole("u", "premium")); got > 2 {
			t.Errorf("%d passed by address", got)
		}
		l.admitted(1, "/either")
	}
}

func TestAShadowRefusesNobodyWhoLacksItsKey(t *testing.T) {
	l := newLimiterOf(t, evadePolicy)
	if res := l.get("/strict"); res.StatusCode != http.StatusOK {
		t.Errorf("refused by a shadow: %s", res.Status)
	}
	if l.last.Facts.Limited || l.last.Facts.Reason == "" {
		t.Errorf("facts %+v", l.last.Facts)
	}
}

func TestAnEmptyHeaderDoesNotHideTheNext(t *testing.T) {
	l := newLimiterOf(t, evadePolicy)
	twice := func(ex *exchange.Exchange) { ex.View.Header.(http.Header)["X-Key"] = []string{"", "k"} }
	if got := l.admitted(3, "/keyed", twice) + l.admitted(3, "/keyed", header("X-Key", "k")); got != 1 {
		t.Errorf("%d of 6 with the key passed, want 1", got)
	}
}
