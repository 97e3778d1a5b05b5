// Package metrics counts what the gateway does, for Prometheus. Only this package knows Prometheus;
// others pass it facts. Labels come from the policy (routes, limits, upstreams), from short fixed
// lists, or are addresses of other gateways. They never come from client input.
package metrics

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

// Metrics holds the gateway's metric families; all names start with gateway_.
type Metrics struct {
	registry *prometheus.Registry

	requests  *prometheus.CounterVec
	failed    *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	bytesOut  *prometheus.CounterVec
	cache     *prometheus.CounterVec
	sessions  *prometheus.CounterVec
	responses *prometheus.CounterVec
	limits    *prometheus.CounterVec
	upstream  *prometheus.HistogramVec
	retries   prometheus.Counter
	local     prometheus.Counter
	panics    prometheus.Counter
	reloads   *prometheus.CounterVec
	redisMove *prometheus.CounterVec
	redisCall *prometheus.HistogramVec
	redises   redises
	recent    samples

	byRoute    *handles[string, routeHandles]
	byRequest  *handles[requestLabels, prometheus.Counter]
	byOutcome  *handles[[3]string, prometheus.Counter] // route, outcome, tier
	byDecision *handles[[3]string, prometheus.Counter] // limit, outcome, by
	byTarget   *handles[[3]string, targetHandles]      // upstream, target, class of the status
	bySession  *handles[string, prometheus.Counter]
}

type targetHandles struct {
	responses prometheus.Counter
	duration  prometheus.Observer
}

type routeHandles struct {
	failed, bytesOut prometheus.Counter
	duration         prometheus.Observer
}

type requestLabels struct {
	route, method string
	status        int
}

// New returns the metrics of a build with this version.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	build := m.gauge("gateway_build_info", "1, labelled with the version of the gateway, and of Go.", "version", "go")
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.requests = m.counter("gateway_requests_total", "Requests by route, method and status sent; 499: the client left first.", "route", "method", "status")
	m.failed = m.counter("gateway_requests_failed_total", "Requests answered with 500 or above, by route; present from the start.", "route")
	m.duration = m.histogram("gateway_request_duration_seconds", "From the head of a request to the end of its response.", "route")
	m.bytesOut = m.counter("gateway_response_bytes_total", "Bytes of response bodies sent.", "route")
	m.cache = m.counter("gateway_cache_requests_total", "Requests on cached routes by what the cache did, and where a stored response came from: l1 (memory), l2 (Redis).", "route", "outcome", "tier")
	m.sessions = m.counter("gateway_session_requests_total", "Requests on routes with sessions by their session, as in the log.", "session")
	m.limits = m.counter("gateway_limit_requests_total", "Charges by limit, outcome (allowed, denied; shadow_allowed and shadow_denied refuse nothing) and what decided: shared (Redis, or memory without Redis), lease, known (refused from local knowledge), share (this gateway's share while Redis is unavailable), in_flight.", "limit", "outcome", "by")
	m.upstream = m.histogram("gateway_upstream_duration_seconds", "To the head of an upstream's response, all tries together.", "upstream")
	m.responses = m.counter("gateway_upstream_responses_total", "Requests to upstreams by the target asked last, and by its status: 1xx to 5xx, or none.", "upstream", "target", "status")
	m.retries = m.counter("gateway_upstream_retries_total", "Retries of requests to upstreams.").WithLabelValues()
	m.local = m.counter("gateway_local_decisions_total", "Requests for which something was decided from memory because Redis was unavailable.").WithLabelValues()
	m.panics = m.counter("gateway_panics_total", "Handlers that panicked.").WithLabelValues()
	m.reloads = m.counter("gateway_reloads_total", "Attempts to put a changed policy in force.", "result")
	m.redisMove = m.counter("gateway_redis_changes_total", "Changes of the state of a Redis.", "redis", "to")
	m.redisCall = m.histogramOf(callBuckets, "gateway_redis_call_duration_seconds", "Of commands and pipelines to Redis, successful or not, including the wait for a connection.", "redis")
	m.byRoute = newHandles(func(route string) routeHandles {
		return routeHandles{m.failed.WithLabelValues(route), m.bytesOut.WithLabelValues(route), m.duration.WithLabelValues(route)}
	})
	m.byRequest = newHandles(func(l requestLabels) prometheus.Counter {
		return m.requests.WithLabelValues(l.route, l.method, strconv.Itoa(l.status))
	})
	m.byOutcome = newHandles(func(l [3]string) prometheus.Counter { return m.cache.WithLabelValues(l[:]...) })
	m.byDecision = newHandles(func(l [3]string) prometheus.Counter { return m.limits.WithLabelValues(l[:]...) })
	m.bySession = newHandles(func(session string) prometheus.Counter { return m.sessions.WithLabelValues(session) })
	m.byTarget = newHandles(func(l [3]string) targetHandles {
		return targetHandles{m.responses.WithLabelValues(l[:]...), m.upstream.WithLabelValues(l[0])}
	})
	m.registry.MustRegister(&m.redises)
	m.recent.sampled = prometheus.NewRegistry()
	m.recent.sampled.MustRegister(m.requests, m.duration, m.upstream, m.cache)
	return m
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(g)
	return g
}

func (m *Metrics) histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	return m.histogramOf(bounds[:], name, help, labels...)
}

func (m *Metrics) histogramOf(buckets []float64, name, help string, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
	}, labels)
	m.registry.MustRegister(h)
	return h
}

// Gauge adds a gauge that calls f at every scrape. It panics if the name is taken, which is a
// programmer's mistake.
func (m *Metrics) Gauge(name, help string, f func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
}

// Counter adds a counter that calls f at every scrape, and panics as Gauge does.
func (m *Metrics) Counter(name, help string, f func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, f))
}

// Handler serves the families in Prometheus' formats.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Routes begins to count for routes, so that a rate sees the first request, and the first failure.
func (m *Metrics) Routes(routes []*policy.Route) {
	for _, r := range routes {
		m.byRoute.of(r.Name)
		m.byRequest.of(requestLabels{r.Name, http.MethodGet, http.StatusOK})
	}
}

// End counts a request and its outcome.
func (m *Metrics) End(ex *exchange.Exchange, took time.Duration) {
	route, upstream := "", ""
	if ex.Route != nil {
		route, upstream = ex.Route.Name, ex.Route.Upstream
	}
	f := &ex.Facts
	m.byRequest.of(requestLabels{route, method(ex.View.Method), f.Status}).Inc()
	of := m.byRoute.of(route)
	if f.Status >= http.StatusInternalServerError {
		of.failed.Inc()
	}
	of.duration.Observe(took.Seconds())
	of.bytesOut.Add(float64(f.BytesOut))
	if f.Cache != "" {
		m.byOutcome.of([3]string{route, f.Cache, f.Tier}).Inc()
	}
	if f.Session != "" {
		m.bySession.of(f.Session).Inc()
	}
	if f.Target != "" {
		asked := m.byTarget.of([3]string{upstream, f.Target, class(f.UpstreamCode)})
		asked.responses.Inc()
		asked.duration.Observe(f.UpstreamTime.Seconds())
	}
	if f.Retries > 0 {
		m.retries.Add(float64(f.Retries))
	}
	if f.Local {
		m.local.Inc()
	}
}

// Limit counts a charge of a limit.
func (m *Metrics) Limit(limit, by string, allowed, shadow bool) {
	outcome := "denied"
	if allowed {
		outcome = "allowed"
	}
	if shadow {
		outcome = "shadow_" + outcome
	}
	m.byDecision.of([3]string{limit, outcome, by}).Inc()
}

// class is that of an upstream's status; 0: there was no response.
func class(status int) string {
	if status < 100 || status > 599 {
		return "none"
	}
	return [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}[status/100-1]
}

// method bounds the values of the label: a client may send any method.
func method(s string) string {
	switch s {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return s
	}
	return "other"
}

// Panic counts a handler that panicked.
func (m *Metrics) Panic() { m.panics.Inc() }

// Reload counts an attempt to put a policy in force.
func (m *Metrics) Reload(err error) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.reloads.WithLabelValues(result).Inc()
}
