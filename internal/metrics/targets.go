package metrics

import "github.com/prometheus/client_golang/prometheus"

// Target is one server of an upstream at a moment.
type Target struct {
	Upstream string
	Address  string // host:port
	Up       bool   // health checks have not taken it out
}

// Targets adds the targets of all upstreams. read is called whenever someone asks
// for the metrics. Call it once.
func (m *Metrics) Targets(read func() []Target) { m.registry.MustRegister(targets(read)) }

var targetUp = desc("gateway_upstream_target_up", "1: requests go to this target, 0: health checks took it out, and it is asked where all are.", "upstream", "target")

// targets collects the family of every target.
type targets func() []Target

// Describe implements prometheus.Collector.
func (t targets) Describe(to chan<- *prometheus.Desc) { to <- targetUp }

// Collect implements prometheus.Collector.
func (t targets) Collect(to chan<- prometheus.Metric) {
	seen := map[Target]bool{}
	for _, one := range t() {
		key := Target{Upstream: one.Upstream, Address: one.Address}
		if seen[key] { // http and https; twice would fail the whole page
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
