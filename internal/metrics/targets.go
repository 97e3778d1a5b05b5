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
