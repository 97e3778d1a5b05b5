package drill

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Result is the result of a drill. As JSON it is stable: members may be added, but none is renamed or
// changes its meaning.
type Result interface {
	Table(w io.Writer) error // for people
	OK() bool                // the drill passed
}

// MS is a time in milliseconds.
type MS float64

func inMS(d time.Duration) MS { return MS(float64(d.Microseconds()) / 1000) }

// String shows 0 as a dash.
func (m MS) String() string {
	if m == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fms", float64(m))
}

// met returns nil for 0.
func met(d time.Duration) *MS {
	if d == 0 {
		return nil
	}
	m := inMS(d)
	return &m
}

func shown(m *MS) MS {
	if m == nil {
		return 0
	}
	return *m
}

// Report is the result of a drill of Redis.
type Report struct {
	Seed   uint64 `json:"seed"`
	Rate   int    `json:"rate"`    // requests per second
	Each   MS     `json:"each_ms"` // how long a fault lasted
	Passed bool   `json:"passed"`  // rows were played and none failed
	Rows   []Row  `json:"rows"`    // in playing order
}

// Row is the result of one fault. If it was skipped, all figures are 0.
type Row struct {
	Fault       string   `json:"fault"`
	Description string   `json:"description"`
	Verdict     string   `json:"verdict"`           // pass, fail or skipped
	Problems    []string `json:"problems"`          // empty unless it failed
	Skipped     string   `json:"skipped,omitempty"` // why it was skipped
	Broken      Figures  `json:"broken"`            // during the fault
	Healthy     Figures  `json:"healthy"`           // of all healthy pauses so far
	Trips       int      `json:"trips"`             // how often a gateway gave Redis up, at most
	Trip        *MS      `json:"to_trip_ms"`        // until the first did; null: none
	Return      *MS      `json:"to_return_ms"`      // until the last used it again; null: it was in use at the end
	Apart       *MS      `json:"apart_ms"`          // from the first that used it again to the last; null: as above
}

// LimitsReport is the result of a drill of the limits.
type LimitsReport struct {
	Seed     uint64        `json:"seed"`
	Gateways int           `json:"gateways"`
	Passed   bool          `json:"passed"`
	Faults   []LimitsEvent `json:"faults"` // in playing order
	Rows     []LimitsRow   `json:"rows"`
}

// LimitsEvent is a fault that was played.
type LimitsEvent struct {
	Fault    string `json:"fault"`
	At       MS     `json:"at_ms"`
	Outage   MS     `json:"outage_ms"`    // how long Redis was unavailable
	Returned MS     `json:"to_return_ms"` // from when it was whole until the last gateway used it
	Apart    MS     `json:"apart_ms"`     // from the first gateway that used it to the last
}

// LimitsRow is the result of one client for one limit.
type LimitsRow struct {
	Client   string `json:"client"` // greedy or polite
	Route    string `json:"route"`
	Limit    string `json:"limit"`
	Sent     int    `json:"sent"`
	Admitted int    `json:"admitted"`
	Refused  int    `json:"refused"`
	Failed   int    `json:"failed"` // answered with anything but 2xx and 429, or not at all
	// The worst window is the one, of any length, with the most admissions beyond rate times length.
	// These are its length, its admissions, how many the limit allows without faults, and how many
	// with the faults that overlap it.
	Window MS      `json:"window_ms"`
	Worst  int     `json:"worst"`
	Normal float64 `json:"normal"`
	Bound  float64 `json:"bound"`
	// Overshoot is worst minus normal, as a share of the burst, at least 0.
	Overshoot float64  `json:"overshoot"`
	Problems  []string `json:"problems"` // empty: it passes
}

// OK implements Result.
func (r Report) OK() bool { return r.Passed }

// OK implements Result.
func (r LimitsReport) OK() bool { return r.Passed }

// condition is a possible problem of a row.
type condition struct {
	wrong  bool
	format string
	args   []any
}

func when(wrong bool, format string, args ...any) condition { return condition{wrong, format, args} }

// problems returns the messages of the conditions that are wrong.
func problems(conditions ...condition) []string {
	found := []string{}
	for _, c := range conditions {
		if c.wrong {
			found = append(found, fmt.Sprintf(c.format, c.args...))
		}
	}
	return found
}

// table is rows in columns, with remarks below.
type table struct{ rows, remarks strings.Builder }

// row adds a row; tabs separate its cells.
func (t *table) row(format string, cells ...any) { fmt.Fprintf(&t.rows, format+"\t\n", cells...) }

func (t *table) remark(format string, args ...any) { fmt.Fprintf(&t.remarks, format+"\n", args...) }

func (t *table) write(w io.Writer) error {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = io.WriteString(columns, t.rows.String()) // Flush returns the error
	if err := columns.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, t.remarks.String())
	return err
}

// Table implements Result. Remarks are the problems of rows, and why some were skipped.
func (r Report) Table(w io.Writer) error {
	var t table
	t.row("fault\trequests\t5xx\tp50\thealthy\tp99\thealthy\thits\thealthy\ttrips\tto trip\tto return\tapart\tverdict")
	for _, r := range r.Rows {
		if r.Skipped != "" {
			t.row("%s\t%sskipped", r.Fault, strings.Repeat("-\t", 12))
			t.remark("%s: skipped: %s", r.Fault, r.Skipped)
			continue
		}
		if len(r.Problems) > 0 {
			t.remark("%s (%s): %s", r.Fault, r.Description, strings.Join(r.Problems, "; "))
		}
		t.row("%s\t%d\t%d\t%s\t%s\t%s\t%s\t%.2f\t%.2f\t%d\t%s\t%s\t%s\t%s", r.Fault, r.Broken.Requests, r.Broken.Failed,
			r.Broken.P50, r.Healthy.P50, r.Broken.P99, r.Healthy.P99, r.Broken.HitRatio, r.Healthy.HitRatio,
			r.Trips, shown(r.Trip), shown(r.Return), shown(r.Apart), verdict(r.Problems))
	}
	return t.write(w)
}

func verdict(problems []string) string {
	if len(problems) > 0 {
		return "FAIL"
	}
	return "pass"
}

// Table implements Result. Remarks are the problems, and the faults that were played.
func (r LimitsReport) Table(w io.Writer) error {
	var t table
	t.row("client\troute\tlimit\tsent\t2xx\t429\tfailed\tworst W\tadmitted\tB + rW\twith faults\tovershoot\tverdict")
	for _, r := range r.Rows {
		if len(r.Problems) > 0 {
			t.remark("%s %s, limit %s: %s", r.Client, r.Route, r.Limit, strings.Join(r.Problems, "; "))
		}
		t.row("%s\t%s\t%s\t%d\t%d\t%d\t%d\t%.2fs\t%d\t%.0f\t%.0f\t%.0f %%\t%s", r.Client, r.Route, r.Limit, r.Sent, r.Admitted,
			r.Refused, r.Failed, r.Window/1000, r.Worst, r.Normal, r.Bound, 100*r.Overshoot, verdict(r.Problems))
	}
	counts, outage := map[string]int{}, MS(0)
	var kinds []string
	for _, f := range r.Faults {
		if counts[f.Fault]++; counts[f.Fault] == 1 {
			kinds = append(kinds, f.Fault)
		}
		outage += f.Outage
	}
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%s %d×", kind, counts[kind])
	}
	t.remark("%d gateways, %d faults, Redis down for %.1fs in total: %s", r.Gateways, len(r.Faults), outage/1000, strings.Join(kinds, ", "))
	return t.write(w)
}
