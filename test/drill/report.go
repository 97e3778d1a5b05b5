package drill

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Result is what a drill found: a document for JSON, whose names are stable. Members
// may come to it, and none changes its name or its meaning.
type Result interface {
	Table(w io.Writer) error // for a person
	OK() bool                // the drill passed
}

// MS is a time in milliseconds.
type MS float64

func inMS(d time.Duration) MS { return MS(float64(d.Microseconds()) / 1000) }

// String shows a time that was not met as a dash.
func (m MS) String() string {
	if m == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fms", float64(m))
}

// met is nil for a time that was not met.
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

// Report is a drill of Redis.
type Report struct {
	Seed   uint64 `json:"seed"`
	Rate   int    `json:"rate"`    // requests a second
	Each   MS     `json:"each_ms"` // how long a fault lasted
	Passed bool   `json:"passed"`  // rows were played, and none of them failed
	Rows   []Row  `json:"rows"`    // in the order in which they were played
}

// Row is what one fault showed. Of one that was skipped all figures are 0.
type Row struct {
	Fault       string   `json:"fault"`
	Description string   `json:"description"`
	Verdict     string   `json:"verdict"`           // pass, fail or skipped
	Problems    []string `json:"problems"`          // of fail; else empty
	Skipped     string   `json:"skipped,omitempty"` // why
	Broken      Figures  `json:"broken"`            // while the fault lasted
	Healthy     Figures  `json:"healthy"`           // while nothing was broken, up to then
	Trips       int      `json:"trips"`             // the most often that a gateway gave Redis up
	Trip        *MS      `json:"to_trip_ms"`        // until the first did; null: none
	Return      *MS      `json:"to_return_ms"`      // until the last used it again; null: it was in use at the end
	Apart       *MS      `json:"apart_ms"`          // from the first that used it again to the last; null: as above
}

// LimitsReport is a drill of the limits.
type LimitsReport struct {
	Seed     uint64        `json:"seed"`
	Gateways int           `json:"gateways"`
	Passed   bool          `json:"passed"`
	Faults   []LimitsEvent `json:"faults"` // in the order in which they were played
	Rows     []LimitsRow   `json:"rows"`
}

// LimitsEvent is a fault that was played.
type LimitsEvent struct {
	Fault    string `json:"fault"`
	At       MS     `json:"at_ms"`
	Outage   MS     `json:"outage_ms"`    // that Redis did not answer
	Returned MS     `json:"to_return_ms"` // from when it was whole until the last gateway used it
	Apart    MS     `json:"apart_ms"`     // from the first gateway that used it to the last
}

// LimitsRow is what one client got of one limit.
type LimitsRow struct {
	Client   string `json:"client"` // greedy or polite
	Route    string `json:"route"`
	Limit    string `json:"limit"`
	Sent     int    `json:"sent"`
	Admitted int    `json:"admitted"`
	Refused  int    `json:"refused"`
	Failed   int    `json:"failed"` // answered with anything but 2xx and 429, or not at all
	// Of the window, of any length, in which most was admitted beyond rate times
	// length: that length, the requests admitted, as many as the limit admits when
	// nothing fails, and as many as it may with the faults that fell into it.
	Window MS      `json:"window_ms"`
	Worst  int     `json:"worst"`
	Normal float64 `json:"normal"`
	Bound  float64 `json:"bound"`
	// Overshoot is worst less normal, as a share of the burst; 0: never more.
	Overshoot float64  `json:"overshoot"`
	Problems  []string `json:"problems"` // none: it passes
}

// OK implements Result.
func (r Report) OK() bool { return r.Passed }

// OK implements Result.
func (r LimitsReport) OK() bool { return r.Passed }

// condition is something that a row may have wrong with it.
type condition struct {
	wrong  bool
	format string
	args   []any
}

func when(wrong bool, format string, args ...any) condition { return condition{wrong, format, args} }

// problems says what is wrong.
func problems(conditions ...condition) []string {
	found := []string{}
	for _, c := range conditions {
		if c.wrong {
			found = append(found, fmt.Sprintf(c.format, c.args...))
		}
	}
	return found
}

// table is rows in columns, and remarks below.
type table struct{ rows, remarks strings.Builder }

// row adds a row; its cells stand between tabs.
func (t *table) row(format string, cells ...any) { fmt.Fprintf(&t.rows, format+"\t\n", cells...) }

func (t *table) remark(format string, args ...any) { fmt.Fprintf(&t.remarks, format+"\n", args...) }

func (t *table) write(w io.Writer) error {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = io.WriteString(columns, t.rows.String()) // Flush tells
	if err := columns.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, t.remarks.String())
	return err
}

// Table implements Result. Below stands what is wrong with rows, and why some were
// not played.
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

// Table implements Result. Below stand what is wrong, and the faults played.
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
	for _, f := range r.Faults {
		counts[f.Fault]++
		outage += f.Outage
	}
	var kinds []string
	for _, f := range r.Faults {
		if n := counts[f.Fault]; n > 0 {
			kinds = append(kinds, fmt.Sprintf("%s %d×", f.Fault, n))
		}
		delete(counts, f.Fault)
	}
	t.remark("%d gateways, %d faults, Redis away for %.1fs in all: %s", r.Gateways, len(r.Faults), outage/1000, strings.Join(kinds, ", "))
	return t.write(w)
}
