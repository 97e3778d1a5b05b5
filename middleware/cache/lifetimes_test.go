package cache_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/test/env"
)

// overviewOf is the overview of a route.
func overviewOf(t *testing.T, e *edge, route string) cache.RouteOverview {
	t.Helper()
	for _, r := range e.cache.Overview(e.snapshot()).Routes {
		if r.Route == route {
			return r
		}
	}
	t.Fatalf("no route %q", route)
	return cache.RouteOverview{}
}

// Which lifetimes would pay follows from what refills brought.
func TestLifetimes(t *testing.T) {
	e := newEdge(t, options{})
	n := 0
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		n++
		if r.URL.Path == "/item/1" {
			_, _ = fmt.Fprint(w, "the same")
			return
		}
		_, _ = fmt.Fprint(w, n)
	})
	if r := overviewOf(t, e, "detail"); r.Stored != 0 || r.Advice() != "" {
		t.Errorf("of nothing: %+v", r)
	}
	for range 12 {
		e.get("/item/1")
		e.get("/item/1")
		e.clock.Advance(61 * time.Second)
	}
	r := overviewOf(t, e, "detail")
	if r.Stored != 1 || r.Stale != 1 || r.Age != 61 || r.Lifetime != 60 || r.Refills.All != 11 || r.Refills.Unchanged != 11 || r.Refills.Background != 0 || r.Fills() != 12 {
		t.Errorf("unchanged: %+v", r)
	}
	if want := "a longer lifetime would pay: 11 of 11 refills brought what was stored already; with 2m0s there would be about 5 fewer an hour"; r.Advice() != want {
		t.Errorf("advice %q", r.Advice())
	}

	e.clock.Advance(2 * time.Hour)
	for range 12 {
		e.get("/item/2")
		e.clock.Advance(61 * time.Second)
	}
	if r := overviewOf(t, e, "detail"); r.Refills.All != 11 || r.Refills.Unchanged != 0 || !strings.Contains(r.Advice(), "changes with nearly every refill") {
		t.Errorf("changed: %+v %q", r, r.Advice())
	}

	e.clock.Advance(2 * time.Hour)
	for i := range 120 {
		e.get(fmt.Sprintf("/item/%d", 100+i))
	}
	if r := overviewOf(t, e, "detail"); r.Stored < 120 || !strings.Contains(r.Advice(), "hardly any response is asked for again") {
		t.Errorf("never again: %+v %q", r, r.Advice())
	}

	// A refresh in the background is a fill too.
	e.get("/list")
	e.clock.Advance(301 * time.Second)
	e.get("/list") // stale, and refreshed
	env.Eventually(t, env.Patience, func() error {
		if r := overviewOf(t, e, "list"); r.Refills.Background != 1 || r.Fills() != 2 {
			return fmt.Errorf("refreshed: %+v", r)
		}
		return nil
	})
}
