package drill

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jewgo/gateway/policy"
)

// LimitsReport is a drill of the limits as one JSON document, whose names are as
// stable as those of Report. Times are milliseconds.
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

// report judges all clients.
func (d *limitsDrill) report() LimitsReport {
	r := LimitsReport{Seed: d.Seed, Gateways: len(d.fleet), Faults: []LimitsEvent{}, Passed: len(d.faults) > 0}
	for _, f := range d.faults {
		r.Faults = append(r.Faults, LimitsEvent{f.name, inMS(f.from), inMS(f.away), inMS(f.returned), inMS(f.apart)})
	}
	length := d.upstream.now()
	for _, c := range d.clients {
		for _, l := range c.route.Limits {
			row := c.row(l, look(l.Quota, len(d.fleet), d.upstream.log.of(c.name), d.faults), length)
			r.Rows = append(r.Rows, row)
			r.Passed = r.Passed && len(row.Problems) == 0
		}
	}
	return r
}

func (c *limitsClient) row(l *policy.Limit, w windows, length time.Duration) LimitsRow {
	r := LimitsRow{
		Client: "polite", Route: c.route.Pattern, Limit: l.Name, Sent: c.sent, Admitted: c.admitted, Refused: c.refused, Failed: c.failed,
		Window: inMS(w.Worst.to - w.Worst.from), Worst: w.Admitted, Normal: w.Normal, Bound: w.Bound,
		Overshoot: max(w.Overshoot, 0) / float64(l.Quota.Burst), Problems: []string{},
	}
	problem := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	if c.greedy {
		r.Client = "greedy"
	}
	if w.Broken > 0.01 { // Redis counts in microseconds
		problem("%.1f tokens beyond the bound from %.2fs to %.2fs", w.Broken, w.Broke.from.Seconds(), w.Broke.to.Seconds())
	}
	if c.failed > 0 {
		problem("%d requests failed, the first: %s", c.failed, c.first)
	}
	if !c.greedy && c.refused > 0 {
		problem("%d requests within the limit were refused", c.refused)
	}
	// A limiter that refuses all would pass everything above.
	if least := perSecond(l.Quota) * length.Seconds() / 2; c.greedy && l == c.tightest() && float64(c.admitted) < least {
		problem("only %d of at least %.0f requests were admitted", c.admitted, least)
	}
	return r
}

// Table writes it for a person; below, what is wrong, and the faults played.
func (r LimitsReport) Table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "client\troute\tlimit\tsent\t2xx\t429\tfailed\tworst W\tadmitted\tB + rW\twith faults\tovershoot\tverdict\t") // Flush tells
	var remarks strings.Builder
	for _, row := range r.Rows {
		verdict := "pass"
		if len(row.Problems) > 0 {
			verdict = "FAIL"
			fmt.Fprintf(&remarks, "%s %s, limit %s: %s\n", row.Client, row.Route, row.Limit, strings.Join(row.Problems, "; "))
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%.2fs\t%d\t%.0f\t%.0f\t%.0f %%\t%s\t\n", row.Client, row.Route, row.Limit,
			row.Sent, row.Admitted, row.Refused, row.Failed, row.Window/1000, row.Worst, row.Normal, row.Bound, 100*row.Overshoot, verdict) // as above
	}
	if err := t.Flush(); err != nil {
		return err
	}
	counts, outage := map[string]int{}, MS(0)
	var kinds []string
	for _, f := range r.Faults {
		if counts[f.Fault]++; counts[f.Fault] == 1 {
			kinds = append(kinds, f.Fault)
		}
		outage += f.Outage
	}
	for i, k := range kinds {
		kinds[i] = fmt.Sprintf("%s %d×", k, counts[k])
	}
	fmt.Fprintf(&remarks, "%d gateways, %d faults, Redis away for %.1fs in all: %s\n", r.Gateways, len(r.Faults), outage/1000, strings.Join(kinds, ", "))
	_, err := io.WriteString(w, remarks.String())
	return err
}
