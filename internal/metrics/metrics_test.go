package metrics_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/policy"
)

// scrape gives the families as Prometheus reads them.
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
	m.Begin()
	m.End(&exchange.Exchange{Route: route, View: policy.View{Method: "GET"}, Facts: exchange.Facts{
		Status: 200, BytesOut: 70, Cache: "hit", Limit: "anonymous",
	}}, time.Millisecond)
	m.Begin()
	m.End(&exchange.Exchange{Route: route, View: policy.View{Method: "BREW"}, Facts: exchange.Facts{
		Status: 429, Limit: "anonymous", Limited: true, Local: true, Retries: 2, Target: "127.0.0.1:5000", UpstreamTime: time.Second,
	}}, time.Second)
	m.Begin()
	m.End(&exchange.Exchange{View: policy.View{Method: "GET"}, Facts: exchange.Facts{Status: 404}}, 0)
	m.Begin()
	m.Panic()
	m.Reload(nil)
	m.RedisChanged("redis", failover.Down)
	m.Redis("redis", failover.New(failover.Config{}))
	m.Gauge("gateway_test_gauge", "A gauge.", func() float64 { return 3 })
	got := scrape(t, m)
	for _, want := range []string{
		`gateway_build_info{version="v9"} 1`,
		`gateway_requests_in_flight 1`,
		`gateway_requests_total{method="GET",route="lists",status="200"} 1`,
		`gateway_requests_total{method="other",route="lists",status="429"} 1`,
		`gateway_requests_total{method="GET",route="",status="404"} 1`,
		`gateway_request_duration_seconds_count{route="lists"} 2`,
		`gateway_response_bytes_total{route="lists"} 70`,
		`gateway_cache_requests_total{outcome="hit",route="lists"} 1`,
		`gateway_limit_requests_total{limit="anonymous",outcome="allowed"} 1`,
		`gateway_limit_requests_total{limit="anonymous",outcome="refused"} 1`,
		`gateway_upstream_duration_seconds_sum{upstream="flask"} 1`,
		`gateway_upstream_retries_total 2`,
		`gateway_local_decisions_total 1`,
		`gateway_panics_total 1`,
		`gateway_reloads_total{result="ok"} 1`,
		`gateway_redis_changes_total{redis="redis",to="down"} 1`,
		`gateway_redis_state{redis="redis"} 0`,
		`gateway_test_gauge 3`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}
