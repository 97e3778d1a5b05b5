package metrics

import "github.com/prometheus/client_golang/prometheus"

// Target is the present state of one server of an upstream.
type Target struct {
	Upstream string
	Address  string // host:port
	Up       bool   // not taken out by health checks
}

// Targets adds the targets of all upstreams. read is called at every scrape. Call Targets once.
func (m *Metrics) Targets(read func() []Target) { m.registry.MustRegister(targets(read)) }

var targetUp = desc("gateway_upstream_target_up", "1 if requests go to this target; 0 if health checks took it out, so that it is used only if all targets are out.", "upstream", "target")

// targets collects the family of every target.
type targets func() []Target

// Describe implements prometheus.Collector.
func (t targets) Describe(to chan<- *prometheus.Desc) { to <- targetUp }

// Collect implements prometheus.Collector.
func (t targets) Collect(to chan<- prometheus.Metric) {
	seen := map[Target]bool{}
	for _, one := range t() {
		key := Target{Upstream: one.Upstream, Address: one.Address}
		if seen[key] { // both http and https; a duplicate would fail the whole scrape
			continue
		}
		seen[key] = true
		up := 0.
		if one.Up {
			up = 1
		}
		to <- prometheus.MustNewConstMetric(targetUp, prometheus.GaugeValue, up, one.Upstream, one.Address)
	}
}

// Load is what an upstream has to do at present.
type Load struct {
	Upstream string
	InFlight int    // requests that it has
	Limit    int    // most that it gets at once
	Refused  uint64 // requests beyond Limit, so far
}

// Loads adds the load of all upstreams. read is called at every scrape. Call Loads once.
func (m *Metrics) Loads(read func() []Load) { m.registry.MustRegister(loads(read)) }

var (
	loadInFlight = desc("gateway_upstream_in_flight", "Requests that an upstream has, streams aside.", "upstream")
	loadLimit    = desc("gateway_upstream_concurrency_limit", "Most requests that an upstream gets at once, by how long its answers take.", "upstream")
	loadRefused  = desc("gateway_upstream_refused_total", "Requests beyond that, which were not sent.", "upstream")
)

// loads collects the families of every upstream.
type loads func() []Load

// Describe implements prometheus.Collector.
func (l loads) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{loadInFlight, loadLimit, loadRefused} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (l loads) Collect(to chan<- prometheus.Metric) {
	for _, one := range l() {
		to <- prometheus.MustNewConstMetric(loadInFlight, prometheus.GaugeValue, float64(one.InFlight), one.Upstream)
		to <- prometheus.MustNewConstMetric(loadLimit, prometheus.GaugeValue, float64(one.Limit), one.Upstream)
		to <- prometheus.MustNewConstMetric(loadRefused, prometheus.CounterValue, float64(one.Refused), one.Upstream)
	}
}
