package metrics_test

import (
	"strings"
	"testing"

	"github.com/jewgo/gateway/internal/metrics"
)

func TestTargets(t *testing.T) {
	m := metrics.New("v9")
	m.Targets(func() []metrics.Target {
		return []metrics.Target{
			{Upstream: "flask", Address: "10.0.0.2:5000", Up: true},
			{Upstream: "flask", Address: "10.0.0.3:5000"},
			{Upstream: "flask", Address: "10.0.0.3:5000", Up: true}, // by another scheme
		}
	})
	got := scrape(t, m)
	for _, want := range []string{
		`gateway_upstream_target_up{target="10.0.0.2:5000",upstream="flask"} 1`,
		`gateway_upstream_target_up{target="10.0.0.3:5000",upstream="flask"} 0`,
	} {
		if !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}
