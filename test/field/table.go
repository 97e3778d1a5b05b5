package field

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
)

// Table is the result of one case.
type Table struct {
	Case     string `json:"case"`
	About    string `json:"about"`
	Baseline string `json:"baseline"`
	Rate     int    `json:"rate"` // requests per second, for the latencies
	Rows     []Row  `json:"rows"`
}

// Row is the result of one server: medians of the rounds.
type Row struct {
	Server     string  `json:"server"`
	Note       string  `json:"note,omitempty"`
	Throughput float64 `json:"requests_per_second"`
	CPU        float64 `json:"cpu_us"`              // of one request
	Ratio      float64 `json:"cpu_ratio,omitempty"` // to the baseline's; 0: it did not play
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	Memory     int64   `json:"peak_rss_bytes"`
	Allocs     float64 `json:"allocs,omitempty"` // of one request; 0: unknown
}

// rows sums the rounds up. A ratio is the median of those of the rounds, in which both were measured
// close to each other.
func (s *site) rows(field []*measured) (rows []Row) {
	i := slices.IndexFunc(field, func(m *measured) bool { return m.server.name == s.c.Baseline })
	for _, m := range field {
		row := Row{
			Server: m.server.name, Note: s.c.note(m.server.name), Throughput: median(m.throughput), CPU: median(m.cpu),
			P50: median(m.p50), P99: median(m.p99), Memory: m.memory, Allocs: median(m.allocs),
		}
		if i >= 0 {
			row.Ratio = median(ratios(m.cpu, field[i].cpu))
		}
		rows = append(rows, row)
	}
	return rows
}

func ratios(own, base []float64) []float64 {
	all := make([]float64, len(own))
	for i := range own {
		if base[i] > 0 {
			all[i] = own[i] / base[i]
		}
	}
	return all
}

// median returns the middle value, or the mean of the two in the middle; 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// columns are the titles of a table.
var columns = []string{"server", "req/s", "CPU µs/req", "ratio", "p50 µs", "p99 µs", "RSS MiB", "allocs/req"}

// cells returns a row as text; what is unknown is a dash.
func (r Row) cells() []string {
	known := func(v float64, decimals int) string {
		if v == 0 {
			return "-"
		}
		return strconv.FormatFloat(v, 'f', decimals, 64)
	}
	return []string{
		r.Server, known(r.Throughput, 0), known(r.CPU, 1), known(r.Ratio, 2), known(r.P50, 0), known(r.P99, 0),
		known(float64(r.Memory)/(1<<20), 1), known(r.Allocs, 1),
	}
}

// title says what a table is about.
func (t Table) title() string {
	return fmt.Sprintf("%s: %s. Ratios to %s, latencies at %d requests/s.", t.Case, t.About, t.Baseline, t.Rate)
}

// Text writes a table for a terminal.
func (t Table) Text(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, t.title())
	for _, column := range columns {
		fmt.Fprint(tw, column, "\t")
	}
	fmt.Fprintln(tw)
	for _, row := range t.Rows {
		for _, cell := range row.cells() {
			fmt.Fprint(tw, cell, "\t")
		}
		if row.Note != "" {
			fmt.Fprint(tw, "  ", row.Note)
		}
		fmt.Fprintln(tw)
	}
	fmt.Fprintln(tw)
	return tw.Flush()
}
