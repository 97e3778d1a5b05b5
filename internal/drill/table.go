package drill

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Table writes the rows for a person, and what is wrong with them below.
func Table(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "fault\trequests\t5xx\tp50\thealthy\tp99\thealthy\thits\thealthy\ttrips\tto trip\tto return\tverdict\t") // Flush tells
	var problems strings.Builder
	for _, r := range rows {
		verdict := "pass"
		if len(r.Problems) > 0 {
			verdict = "FAIL"
			fmt.Fprintf(&problems, "%s (%s): %s\n", r.Scenario.Name, r.Scenario.Description, strings.Join(r.Problems, "; "))
		}
		_, _ = fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t%.2f\t%.2f\t%d\t%s\t%s\t%s\t\n", r.Scenario.Name, r.Broken.Requests, len(r.Broken.Failed),
			ms(r.Broken.Latency.P50), ms(r.Healthy.Latency.P50), ms(r.Broken.Latency.P99), ms(r.Healthy.Latency.P99),
			r.Broken.HitRatio, r.Healthy.HitRatio, r.Trips, ms(r.Trip), ms(r.Return), verdict) // as above
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, problems.String())
	return err
}

// Passed reports whether there are rows, and none of them fails.
func Passed(rows []Row) bool {
	for _, r := range rows {
		if len(r.Problems) > 0 {
			return false
		}
	}
	return len(rows) > 0
}

// ms shows a time in milliseconds, and one that was not met as a dash.
func ms(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fms", float64(d.Microseconds())/1000)
}
