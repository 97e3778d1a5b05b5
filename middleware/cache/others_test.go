package cache_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// The content and timing of one request must not change the responses to others.

func TestAHeadWithoutValidatorsRenewsNothing(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("old"))
	e.get("/item/1")
	e.upstreamSays(says("new"))
	e.clock.Advance(70 * time.Second)
	e.do("HEAD", "/item/1", "")
	e.expect("the same length proves nothing", e.get("/item/1"), "new", "edge; fwd=stale")
}

func TestNoStoreDoesNotEndTheUseOfStaleResponses(t *testing.T) {
	for _, upstream := range []http.HandlerFunc{says(`body of "v1"`), validating(`"v1"`)} {
		e := newEdge(t, options{})
		e.upstreamSays(upstream)
		first := e.get("/list")
		e.clock.Advance(310 * time.Second)
		e.expect("while stale", e.get("/list", "Cache-Control", "no-store"), first.body, "edge; hit; ttl=-10; detail=stale-while-revalidate")
		e.cache.Settle()
		if n := e.asked.Load(); n != 1 {
			t.Errorf("%d requests upstream: the response to the refresh could not be stored", n)
		}
		e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		e.clock.Advance(100 * time.Second)
		e.expect("another client", e.get("/list"), first.body, "edge; fwd=stale; fwd-status=500; detail=stale-if-error")
	}
}

func TestAuthorizationDoesNotOutdateWhatOthersUse(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(validating(`"v1"`, "Cache-Control", "max-age=60"))
	first := e.get("/strict/a")
	e.expect("it asks for itself", e.get("/strict/a", "Authorization", "x", "Cache-Control", "no-cache"), first.body, "edge; fwd=request; fwd-status=304")
	e.expect("others", e.get("/strict/a"), first.body, "edge; hit; ttl=60")
}

func TestAPurgeDuringAValidationDoesNotOutdate(t *testing.T) {
	e := newEdge(t, options{})
	groups := validating(`"v1"`, "Cache-Control", "max-age=60, stale-if-error=600", "Cache-Groups", `"g"`)
	e.upstreamSays(groups)
	first := e.get("/strict/a")
	e.clock.Advance(70 * time.Second)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		if err := e.tags.Purge(r.Context(), "of something else"); err != nil {
			t.Error(err)
		}
		groups(w, r)
	})
	e.get("/strict/a")
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	e.expect("afterwards", e.get("/strict/a"), first.body, "edge; fwd=stale; fwd-status=500; detail=stale-if-error")
}

// A No-Vary-Search rule makes requests with two queries wait for one response, which then has no
// such rule any more.
func TestWhoWaitedForAnotherQueryAsksItself(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("0", "Cache-Control", "max-age=1", "No-Vary-Search", `params=("id")`))
	e.get("/strict/s?id=0")
	e.clock.Advance(2 * time.Second)
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		gate.wait()
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, r.URL.RawQuery)
	})
	var got [3]reply
	var clients sync.WaitGroup
	for i := range got {
		clients.Go(func() { got[i] = e.get(fmt.Sprintf("/strict/s?id=%d", i)) })
	}
	env.Until(e, "the herd", func() bool { return e.cache.Waiting() == len(got) })
	gate.release()
	clients.Wait()
	for i := range got {
		e.expect("its own", got[i], fmt.Sprintf("id=%d", i), "edge; fwd=stale")
	}
}

func TestWhatIsPurgedIsNotServedInPlaceOfAFailure(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("old"))
	e.get("/list")
	e.clock.Advance(400 * time.Second)
	gate := newGate(t)
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		gate.wait()
		w.WriteHeader(http.StatusInternalServerError)
	})
	replies := e.herd(2, "/list", nothing)
	<-gate.arrived
	if err := e.tags.Purge(t.Context(), "restaurants"); err != nil {
		t.Fatal(err)
	}
	gate.release()
	for _, got := range replies() {
		if got.status != http.StatusInternalServerError || got.body != "" {
			t.Errorf("%d %q with %q", got.status, got.body, got.cacheStatus())
		}
	}
}

func TestWhatVariesByTheGatewaysOwnFieldsIsNotStored(t *testing.T) {
	for _, name := range []string{"X-Forwarded-For", "x-request-id"} {
		for _, path := range []string{"/item/1", "/strict/a"} {
			e := newEdge(t, options{})
			e.upstreamSays(says("one's", "Cache-Control", "max-age=60", "Vary", "Accept, "+name))
			e.get(path)
			e.expect("another", e.get(path), "one's", "edge; fwd=uri-miss; fwd-status=200")
			if n := e.asked.Load(); n != 2 {
				t.Errorf("%s, %s: %d requests upstream", path, name, n)
			}
		}
	}
}

// An origin that never sets Date.
func TestADateOfTheYearOneIsOldAndStaysOld(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Date", time.Time{}.Format(http.TimeFormat))
		h.Set("Cache-Control", "max-age=60")
		h.Set("Etag", `"a"`)
		_, _ = io.WriteString(w, "old")
	})
	for _, path := range []string{"/item/1", "/strict/a"} {
		e.get(path)
		e.clock.Advance(10 * time.Second)
		if age := e.get(path).header.Get("Age"); strings.HasPrefix(age, "-") {
			t.Errorf("%s: Age %s", path, age)
		}
	}
	e.clock.Advance(100 * time.Second)
	e.upstreamSays(says("new"))
	e.expect("after its lifetime", e.get("/strict/a"), "new", "edge; fwd=stale")
}

func TestAnExpiresOfTheYear9999IsStored(t *testing.T) {
	e := newEdge(t, options{})
	e.upstreamSays(says("a", "Expires", "Fri, 31 Dec 9999 23:59:59 GMT"))
	e.get("/strict/a")
	e.expect("again", e.get("/strict/a"), "a", "edge; hit; ttl=2147483648")
}
