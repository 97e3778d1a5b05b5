package metrics_test

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/policy"
)

// Recent covers the last minute alone, and its quantiles are within their bucket.
func TestRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New("v1")
		go m.Sample(t.Context())
		route := &policy.Route{Name: "r", Upstream: "app"}
		serve := func(n, status int, cache string, took time.Duration) {
			for range n {
				ex := &exchange.Exchange{Route: route, Facts: exchange.Facts{Status: status, Cache: cache, UpstreamTime: took}}
				if cache != "hit" {
					ex.Facts.Target = "127.0.0.1:5000"
				}
				m.End(ex, took)
			}
		}
		synctest.Wait()
		serve(1000, 503, "miss", 3*time.Second)
		time.Sleep(2 * time.Minute)
		if r := m.Recent(time.Now()); r.Requests.Count != 0 || r.Failed != 0 || r.Requests.P99 != 0 || len(r.Upstreams) != 0 {
			t.Errorf("after two quiet minutes: %+v", r)
		}
		serve(98, 200, "hit", 700*time.Microsecond)
		serve(2, 429, "", 200*time.Microsecond)
		serve(96, 200, "miss", 30*time.Millisecond)
		serve(1, 404, "miss", 30*time.Millisecond)
		serve(3, 500, "miss", 4*time.Second)
		r := m.Recent(time.Now())
		if r.Requests.Count != 200 || r.Routes["r"].Failed != 3 || r.Failed != 3 || r.Limited != 2 || r.Refused != 1 || r.Cached != 198 || r.Hits != 98 || r.Seconds < 55 || r.Seconds > 65 {
			t.Errorf("%+v", r)
		}
		if math.Abs(r.Requests.Rate-200/r.Seconds) > .001 || r.Requests.P50 < .0005 || r.Requests.P50 > .001 || r.Requests.P99 < 2.5 || r.Requests.P99 > 5 {
			t.Errorf("%+v", r.Requests)
		}
		if route := r.Routes["r"]; route != r.Done || len(r.Routes) != 1 {
			t.Errorf("%+v is not all of %+v", route, r.Done)
		}
		if u := r.Upstreams["app"]; u.Count != 102 || u.P50 < .025 || u.P50 > .05 {
			t.Errorf("%+v", u)
		}
	})
}

// History has the last quarter of an hour, in steps.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New("v1")
		go m.Sample(t.Context())
		time.Sleep(time.Second) // so that no sample is taken while requests end
		for minute := range 20 {
			m.End(&exchange.Exchange{Facts: exchange.Facts{Status: 429, Cache: "hit"}}, time.Millisecond)
			time.Sleep(time.Minute)
			requests := 0
			moments := m.History()
			for _, one := range moments {
				if requests += one.Requests.Count; one.Limited != one.Requests.Count || one.Hits != one.Requests.Count || one.Seconds != 5 {
					t.Errorf("%+v", one)
				}
			}
			if want := min(minute+1, 15); len(moments) != 12*want || requests != want {
				t.Errorf("after %d minutes: %d moments with %d requests", minute+1, len(moments), requests)
			}
		}
	})
}

// Without a sample there is no past.
func TestRecentAtTheStart(t *testing.T) {
	if r := metrics.New("v1").Recent(time.Now()); r.Requests.Rate != 0 || r.Seconds != 0 {
		t.Errorf("%+v", r)
	}
}
