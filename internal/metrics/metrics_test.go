package metrics_test

import (
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/policy"
)

// scrape returns the metrics as Prometheus reads them.
func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d", w.Code)
	}
	return w.Body.String()
}

func TestRequests(t *testing.T) {
	m := metrics.New("v9")
	route := &policy.Route{Name: "lists", Upstream: "flask"}
	m.End(&exchange.Exchange{Route: route, View: policy.View{Method: "GET"}, Facts: exchange.Facts{
		Status: 200, BytesOut: 70, Cache: "hit", Tier: "l1", Session: "valid", Limit: "anonymous",
	}}, time.Millisecond)
	m.End(&exchange.Exchange{Route: route, View: policy.View{Method: "BREW"}, Facts: exchange.Facts{
		Status: 429, Limit: "anonymous", Limited: true, Local: true, Retries: 2, Target: "127.0.0.1:5000", UpstreamTime: time.Second,
	}}, time.Second)
	m.End(&exchange.Exchange{View: policy.View{Method: "GET"}, Facts: exchange.Facts{Status: 404}}, 0)
	m.Limit("anonymous", "shared", true, false)
	m.Limit("anonymous", "known", false, false)
	m.Limit("trial", "lease", false, true)
	m.Routes([]*policy.Route{{Name: "unused"}})
	m.Panic()
	m.Reload(nil)
	m.RedisChanged("redis", failover.Down)
	m.Redis("redis", func() metrics.Redis {
		return metrics.Redis{Warnings: 2, Pool: &metrics.Pool{Hits: 9, Misses: 4, Waits: 3, Timeouts: 2, Stale: 1, Total: 4, Idle: 3}, Status: failover.Status{
			State:    failover.Rejoining,
			Backlogs: []failover.Waiting{{Name: "sessions", Items: 7}},
			TimeIn:   failover.Times{failover.Down: time.Second, failover.Up: 90 * time.Second},
			Counts:   failover.Counts{Trips: 5, Losses: 1, FailedRejoins: 2, ProbeErrors: 8, Rejections: 6, Timeouts: 10, Faults: 11, Late: 12},
		}}
	})
	m.Redis("cache redis", func() metrics.Redis { return metrics.Redis{} })
	m.RedisCalls("redis")(3 * time.Millisecond)
	m.Gauge("gateway_test_gauge", "A gauge.", func() float64 { return 3 })
	got := scrape(t, m)
	if strings.Contains(got, `gateway_redis_pool_connections{redis="cache redis"`) {
		t.Error("an unknown pool has numbers")
	}
	for _, want := range []string{
		`gateway_build_info{go="` + runtime.Version() + `",version="v9"} 1`,
		`gateway_redis_backlog{of="sessions",redis="redis"} 7`,
		`gateway_session_requests_total{session="valid"} 1`,
		`gateway_upstream_responses_total{status="none",target="127.0.0.1:5000",upstream="flask"} 1`,
		`gateway_requests_failed_total{route="unused"} 0`,
		`gateway_requests_total{method="GET",route="unused",status="200"} 0`,
		`gateway_requests_total{method="GET",route="lists",status="200"} 1`,
		`gateway_requests_total{method="other",route="lists",status="429"} 1`,
		`gateway_requests_total{method="GET",route="",status="404"} 1`,
		`gateway_request_duration_seconds_count{route="lists"} 2`,
		`gateway_response_bytes_total{route="lists"} 70`,
		`gateway_cache_requests_total{outcome="hit",route="lists",tier="l1"} 1`,
		`gateway_limit_requests_total{by="shared",limit="anonymous",outcome="allowed"} 1`,
		`gateway_limit_requests_total{by="known",limit="anonymous",outcome="denied"} 1`,
		`gateway_limit_requests_total{by="lease",limit="trial",outcome="shadow_denied"} 1`,
		`gateway_upstream_duration_seconds_sum{upstream="flask"} 1`,
		`gateway_upstream_retries_total 2`,
		`gateway_local_decisions_total 1`,
		`gateway_panics_total 1`,
		`gateway_reloads_total{result="ok"} 1`,
		`gateway_redis_changes_total{redis="redis",to="down"} 1`,
		`gateway_redis_state{redis="redis"} 1`,
		`gateway_redis_state{redis="cache redis"} 0`,
		`gateway_redis_state_seconds_total{redis="redis",state="down"} 1`,
		`gateway_redis_state_seconds_total{redis="redis",state="up"} 90`,
		`gateway_redis_trips_total{redis="redis"} 5`,
		`gateway_redis_losses_total{redis="redis"} 1`,
		`gateway_redis_rejoins_failed_total{redis="redis"} 2`,
		`gateway_redis_probe_failures_total{redis="redis"} 8`,
		`gateway_redis_call_failures_total{kind="rejection",redis="redis"} 6`,
		`gateway_redis_call_failures_total{kind="timeout",redis="redis"} 10`,
		`gateway_redis_call_failures_total{kind="fault",redis="redis"} 11`,
		`gateway_redis_call_failures_total{kind="late",redis="redis"} 12`,
		`gateway_redis_pool_connections{redis="redis",use="idle"} 3`,
		`gateway_redis_pool_connections{redis="redis",use="used"} 1`,
		`gateway_redis_pool_events_total{event="hit",redis="redis"} 9`,
		`gateway_redis_pool_events_total{event="miss",redis="redis"} 4`,
		`gateway_redis_pool_events_total{event="wait",redis="redis"} 3`,
		`gateway_redis_pool_events_total{event="timeout",redis="redis"} 2`,
		`gateway_redis_pool_events_total{event="stale",redis="redis"} 1`,
		`gateway_redis_warnings{redis="redis"} 2`,
		`gateway_redis_call_duration_seconds_bucket{redis="redis",le="0.0025"} 0`,
		`gateway_redis_call_duration_seconds_bucket{redis="redis",le="0.005"} 1`,
		`gateway_test_gauge 3`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}
