package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Certificate is one with which the gateway speaks HTTPS.
type Certificate struct {
	Name     string // the first host that it is for
	Source   string // where it is from
	NotAfter time.Time
}

// Certificates adds the certificates in use. read is called at every scrape. Call Certificates once.
func (m *Metrics) Certificates(read func() []Certificate) {
	m.registry.MustRegister(certificates(read))
}

var certificateExpiry = desc("gateway_certificate_expiry_timestamp_seconds", "When a certificate in use expires, in seconds since 1970.", "name", "source")

// certificates collects the family of every certificate.
type certificates func() []Certificate

// Describe implements prometheus.Collector.
func (c certificates) Describe(to chan<- *prometheus.Desc) { to <- certificateExpiry }

// Collect implements prometheus.Collector.
func (c certificates) Collect(to chan<- prometheus.Metric) {
	seen := map[[2]string]bool{}
	for _, one := range c() {
		key := [2]string{one.Name, one.Source}
		if seen[key] { // the policy names it twice; a duplicate would fail the whole scrape
			continue
		}
		seen[key] = true
		to <- prometheus.MustNewConstMetric(certificateExpiry, prometheus.GaugeValue, float64(one.NotAfter.Unix()), one.Name, one.Source)
	}
}
