package metrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/metrics"
)

func TestPeers(t *testing.T) {
	m := metrics.New("v9")
	all := []metrics.Peer{
		{Address: "10.0.0.2:9902", Up: true, Pending: 3, Delivered: time.UnixMilli(1_500)},
		{Address: "10.0.0.3:9902"},
		{Address: "10.0.0.3:9902", Up: true}, // moved there during the listing
	}
	m.Peers(func() []metrics.Peer { return all })
	got := scrape(t, m)
	for _, want := range []string{
		`gateway_peer_up{peer="10.0.0.2:9902"} 1`, `gateway_peer_pending{peer="10.0.0.2:9902"} 3`,
		`gateway_peer_delivered_timestamp_seconds{peer="10.0.0.2:9902"} 1.5`,
		`gateway_peer_up{peer="10.0.0.3:9902"} 0`, `gateway_peer_pending{peer="10.0.0.3:9902"} 0`,
	} {
		if !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, `delivered_timestamp_seconds{peer="10.0.0.3:9902"}`) {
		t.Error("a peer without a delivery has a time")
	}
	all = nil
	if got := scrape(t, m); strings.Contains(got, "gateway_peer_") {
		t.Errorf("without peers:\n%s", got)
	}
}
