package drill

import (
	"encoding/json"
	"io"
	"strings"
	"time"
)

// Report is a drill as one JSON document. Its names are stable: members may come
// to it, and none changes its name or its meaning. Times are milliseconds.
type Report struct {
	Seed   uint64      `json:"seed"`
	Rate   int         `json:"rate"`    // requests a second
	Each   float64     `json:"each_ms"` // how long a fault lasted
	Passed bool        `json:"passed"`  // as the function Passed says
	Rows   []ReportRow `json:"rows"`    // in the order in which they were played
}

// ReportRow is a Row. Of one that was skipped all figures are 0.
type ReportRow struct {
	Fault       string        `json:"fault"`
	Description string        `json:"description"`
	Verdict     string        `json:"verdict"`           // pass, fail or skipped
	Problems    []string      `json:"problems"`          // of fail; else empty
	Skipped     string        `json:"skipped,omitempty"` // why
	Broken      ReportFigures `json:"broken"`            // while the fault lasted
	Healthy     ReportFigures `json:"healthy"`           // while nothing was broken, up to then
	Trips       int           `json:"trips"`
	Trip        *float64      `json:"to_trip_ms"`   // null: Redis was not given up
	Return      *float64      `json:"to_return_ms"` // null: it was in use at the end
	Apart       *float64      `json:"apart_ms"`     // null: one gateway alone
}

// ReportFigures are Figures. Percentiles are of what the gateway answers itself.
type ReportFigures struct {
	Requests int     `json:"requests"`
	Failed   int     `json:"failed"` // answered with 5xx, or not at all
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	HitRatio float64 `json:"hit_ratio"`
}

// NewReport reports on the rows of a drill that was set up so.
func NewReport(cfg Config, seed uint64, rows []Row) Report {
	report := Report{Seed: seed, Rate: cfg.Rate, Each: inMS(cfg.Each), Passed: Passed(rows), Rows: []ReportRow{}}
	for _, r := range rows {
		report.Rows = append(report.Rows, ReportRow{
			Fault: r.Scenario.Name, Description: r.Scenario.Description,
			Verdict: strings.ToLower(r.verdict()), Problems: append([]string{}, r.Problems...), Skipped: r.Scenario.Skip,
			Broken: r.Broken.report(), Healthy: r.Healthy.report(),
			Trips: r.Trips, Trip: met(r.Trip), Return: met(r.Return), Apart: met(r.Apart),
		})
	}
	return report
}

// Write writes the document.
func (r Report) Write(w io.Writer) error { return writeJSON(w, r) }

// writeJSON writes a document for people too.
func writeJSON(w io.Writer, document any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(document)
}

func (f *Figures) report() ReportFigures {
	return ReportFigures{f.Requests, len(f.Failed), inMS(f.Latency.P50), inMS(f.Latency.P99), f.HitRatio}
}

func inMS(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// met is nil for a time that was not met.
func met(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	v := inMS(d)
	return &v
}
