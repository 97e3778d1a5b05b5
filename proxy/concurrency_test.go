package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jewgo/gateway/policy"
)

// served has so many clients ask an upstream that serves capacity requests at once, each in service, again and
// again for a time. It returns how many were served and refused, and how long one took on average.
func served(c *concurrency, clients, capacity int, service, length time.Duration) (answered, refused int, average time.Duration) {
	workers := make(chan struct{}, capacity)
	end := time.Now().Add(length)
	var mu sync.Mutex
	var took time.Duration
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for time.Now().Before(end) {
				if !c.enter(context.Background()) {
					mu.Lock()
					refused++
					mu.Unlock()
					time.Sleep(100 * time.Millisecond) // Retry-After, more or less
					continue
				}
				began := time.Now()
				workers <- struct{}{}
				time.Sleep(service)
				<-workers
				c.answered(time.Since(began), time.Now())
				c.leave()
				mu.Lock()
				answered++
				took += time.Since(began)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return answered, refused, took / time.Duration(max(answered, 1))
}

// An upstream that keeps up is not limited. One that does not gets few requests at once, all of which it can
// serve; and it gets more again when it can.
func TestConcurrencyFollowsTheUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConcurrency(policy.Concurrency{Min: 16, Max: 1000, Wait: policy.Duration(time.Second)}, never)
		if n, refused, _ := served(c, 900, 1000, 50*time.Millisecond, 10*time.Second); refused > 0 || n < 900*190 {
			t.Errorf("while it keeps up: %d served, %d refused", n, refused)
		}
		n, refused, took := served(c, 500, 8, 50*time.Millisecond, time.Minute)
		if per := float64(n) / 60; per < 150 || refused == 0 { // it can do 160 a second
			t.Errorf("overloaded: %.0f a second are served, %d refused", per, refused)
		}
		if limit := c.load("").Limit; limit > 64 || took > 700*time.Millisecond {
			t.Errorf("overloaded: %d at once, %v each", limit, took)
		}
		if _, refused, _ := served(c, 14, 1000, 50*time.Millisecond, time.Minute); refused > 0 {
			t.Errorf("with few clients again, %d are refused", refused)
		}
		if _, refused, _ := served(c, 300, 1000, 50*time.Millisecond, 10*time.Second); refused > 0 || c.load("").Limit < 300 {
			t.Errorf("able again: %d refused, %d at once", refused, c.load("").Limit)
		}
		if l := c.load("a"); l.InFlight != 0 || l.Upstream != "a" {
			t.Errorf("in the end %+v", l)
		}
	})
}

func never() bool { return false }

// While resources are scarce, those that wait do not pass either.
func TestTurnsWhileResourcesAreScarce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tight := false
		c := newConcurrency(policy.Concurrency{Min: 1, Max: 10, Wait: policy.Duration(time.Minute)}, func() bool { return tight })
		for range 3 {
			c.enter(t.Context())
		}
		tight = true
		entered := false
		go func() { entered = c.enter(t.Context()) }()
		synctest.Wait()
		c.leave()
		c.leave()
		synctest.Wait()
		if entered {
			t.Error("a second one is let in")
		}
		c.leave()
		synctest.Wait()
		if !entered {
			t.Error("the only one is not let in")
		}
	})
}

// Turns come in order, end with their time or their client, and are counted once.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConcurrency(policy.Concurrency{Min: 2, Max: 2, Wait: policy.Duration(time.Second)}, never)
		for range 2 {
			if !c.enter(t.Context()) {
				t.Fatal("one of the first two is refused")
			}
		}
		ctx, leave := context.WithCancel(t.Context())
		results := make(chan string, 2)
		go func() { results <- fmt.Sprint("gone ", c.enter(ctx)) }()
		synctest.Wait()
		go func() { results <- fmt.Sprint("second ", c.enter(t.Context())) }()
		synctest.Wait()
		leave()
		if got := <-results; got != "gone false" {
			t.Error(got)
		}
		c.leave()
		if got := <-results; got != "second true" {
			t.Error(got)
		}
		began := time.Now()
		if c.enter(t.Context()) || time.Since(began) != time.Second {
			t.Errorf("refused after %v", time.Since(began))
		}
		c.leave()
		c.leave()
		if l := c.load(""); l.InFlight != 0 || l.Refused != 2 {
			t.Errorf("in the end %+v", l)
		}
	})
}

// Beyond its limit an upstream gets nothing but health checks. Clients get 503 with Retry-After, and a stream
// takes no place.
func TestBusyUpstream(t *testing.T) {
	release := make(chan struct{})
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			<-release
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_ = http.NewResponseController(w).Flush()
			<-release
		}
		_, _ = io.WriteString(w, "ok")
	})
	e := newEdge(t, setup{app: policy.Upstream{
		Targets: []string{backend(t, app)}, Concurrency: policy.Concurrency{Min: 1, Max: 1}, Health: policy.Health{Path: "/healthz"},
	}})
	events, err := http.Get(e.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	slow := make(chan string, 1)
	go func() {
		res, err := http.Get(e.URL + "/slow")
		if err != nil {
			slow <- err.Error()
			return
		}
		defer res.Body.Close()
		slow <- res.Status
	}()
	for e.pools.Load()[0].InFlight == 0 {
		time.Sleep(time.Millisecond)
	}
	for path, want := range map[string]int{"/": http.StatusServiceUnavailable, "/healthz": http.StatusOK} {
		res, err := http.Post(e.URL+path, "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want || (want != http.StatusOK) != (res.Header.Get("Retry-After") == "1") {
			t.Errorf("%s: %s, Retry-After %q", path, res.Status, res.Header.Get("Retry-After"))
		}
		if f := <-e.facts; want != http.StatusOK && f.Reason != ReasonBusy {
			t.Errorf("the reason is %q", f.Reason)
		}
	}
	close(release)
	if got := <-slow; got != "200 OK" {
		t.Error(got)
	}
	if l := e.pools.Load()[0]; l.InFlight != 0 || l.Refused != 1 {
		t.Errorf("in the end %+v", l)
	}
}
