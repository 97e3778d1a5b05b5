package repotest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	metricsFile  = "docs/metrics.md"
	metricsBegin = "<!-- metrics: begin -->\n"
)

// family matches code that makes a metric family: name, help and labels, or a single label with a fixed
// value.
var family = regexp.MustCompile(`"(gateway_[a-z_]+)", (?:Help: )?"([^"]+)"((?:, "[a-z]+")*)(?:,\s+ConstLabels: prometheus\.Labels\{("[a-z]+"):)?`)

// metricsTable lists the families that Go files make.
func metricsTable(files map[string]string) string {
	var rows []string
	for name, content := range files {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, m := range family.FindAllStringSubmatch(content, -1) {
			labels := strings.Trim(strings.ReplaceAll(m[3]+m[4], `"`, "`"), ", ")
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |\n", m[1], labels, m[2]))
		}
	}
	slices.Sort(rows)
	return "| Family | Labels | Meaning |\n|---|---|---|\n" + strings.Join(rows, "")
}

func TestMetricsInDocs(t *testing.T) { generated(t, metricsFile, metricsBegin, metricsTable(files(t))) }

func TestMetricsTable(t *testing.T) {
	got := metricsTable(map[string]string{
		"b.go":      `m.counter("gateway_b_total", "Bs.", "route", "status")` + "\n" + `m.gauge("gateway_a", "As.").WithLabelValues()`,
		"c.go":      "prometheus.GaugeOpts{\n\tName: \"gateway_c\", Help: \"Cs.\",\n\tConstLabels: prometheus.Labels{\"redis\": name},\n}",
		"b_test.go": `m.counter("gateway_d_total", "Ds.")`,
	})
	want := "| Family | Labels | Meaning |\n|---|---|---|\n" +
		"| `gateway_a` |  | As. |\n| `gateway_b_total` | `route`, `status` | Bs. |\n| `gateway_c` | `redis` | Cs. |\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
