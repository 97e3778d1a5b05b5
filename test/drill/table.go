package drill

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Table writes the rows for a person; below, what is wrong with them, and why some
// were not played.
func Table(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "fault\trequests\t5xx\tp50\thealthy\tp99\thealthy\thits\thealthy\ttrips\tto trip\tto return\tapart\tverdict\t") // Flush tells
	var remarks strings.Builder
	for _, r := range rows {
		if r.Scenario.Skip != "" {
			_, _ = fmt.Fprintf(t, "%s\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-\tskipped\t\n", r.Scenario.Name) // as above
			fmt.Fprintf(&remarks, "%s: skipped: %s\n", r.Scenario.Name, r.Scenario.Skip)
			continue
		}
		if len(r.Problems) > 0 {
			fmt.Fprintf(&remarks, "%s (%s): %s\n", r.Scenario.Name, r.Scenario.Description, strings.Join(r.Problems, "; "))
		}
		_, _ = fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t%.2f\t%.2f\t%d\t%s\t%s\t%s\t%s\t\n", r.Scenario.Name, r.Broken.Requests, len(r.Broken.Failed),
			ms(r.Broken.Latency.P50), ms(r.Healthy.Latency.P50), ms(r.Broken.Latency.P99), ms(r.Healthy.Latency.P99),
			r.Broken.HitRatio, r.Healthy.HitRatio, r.Trips, ms(r.Trip), ms(r.Return), ms(r.Apart), r.verdict()) // as above
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, remarks.String())
	return err
}

// verdict is the row's in a word.
func (r *Row) verdict() string {
	switch {
	case r.Scenario.Skip != "":
		return "skipped"
	case len(r.Problems) > 0:
		return "FAIL"
	}
	return "pass"
}

// Passed reports whether rows were played, and none of them fails.
func Passed(rows []Row) bool {
	passed := false
	for _, r := range rows {
		switch r.verdict() {
		case "FAIL":
			return false
		case "pass":
			passed = true
		}
	}
	return passed
}

// ms shows a time in milliseconds, and one that was not met as a dash.
func ms(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fms", float64(d.Microseconds())/1000)
}
