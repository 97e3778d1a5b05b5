package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Peer is the present state of another gateway.
type Peer struct {
	Address   string    // host:port
	Up        bool      // it answered the last message
	Pending   int       // records waiting for it
	Delivered time.Time // when it last applied records; zero: never
}

// Peers adds the other gateways. read is called at every scrape; it must not block, and returns a
// bounded number. Call Peers once.
func (m *Metrics) Peers(read func() []Peer) { m.registry.MustRegister(peers(read)) }

// The families that are read at every scrape.
var (
	peerUp        = desc("gateway_peer_up", "1 if this other gateway answered the last message, else 0.", "peer")
	peerPending   = desc("gateway_peer_pending", "Records waiting for this other gateway.", "peer")
	peerDelivered = desc("gateway_peer_delivered_timestamp_seconds", "When this other gateway last took records, in Unix time.", "peer")
)

// peers collects the families of every peer.
type peers func() []Peer

// Describe implements prometheus.Collector.
func (p peers) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{peerUp, peerPending, peerDelivered} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (p peers) Collect(to chan<- prometheus.Metric) {
	seen := map[string]bool{}
	for _, one := range p() {
		if seen[one.Address] { // a peer changed its address meanwhile; a duplicate would fail the whole scrape
			continue
		}
		seen[one.Address] = true
		gauge := func(d *prometheus.Desc, v float64) {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, one.Address)
		}
		up := 0.
		if one.Up {
			up = 1
		}
		gauge(peerUp, up)
		gauge(peerPending, float64(one.Pending))
		if !one.Delivered.IsZero() {
			gauge(peerDelivered, float64(one.Delivered.UnixMilli())/1000)
		}
	}
}
