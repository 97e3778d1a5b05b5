package failover

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The numbers in docs/how-it-works/failover.md are those of the code: its table lists all of them,
// and its prose has none that the table lacks.
func TestTimesInDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/how-it-works/failover.md")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{}.withDefaults()
	own := map[string]any{
		"Budget": c.Budget, "ProbeTimeout": c.ProbeTimeout, "RejoinTimeout": c.RejoinTimeout,
		"UpInterval": c.UpInterval, "UpInterval × 5/4": c.UpInterval * 5 / 4, "DownInterval": c.DownInterval,
		"StableAfter": c.StableAfter, "MaxHold": c.MaxHold,
		"timeoutsToTrip": timeoutsToTrip, "lossesUnheld": lossesUnheld, "maxBarrier": maxBarrier, "drainAfter": drainAfter, "historySize": historySize,
	}
	before, rest, _ := strings.Cut(string(text), "<!-- times: begin -->")
	table, after, found := strings.Cut(rest, "<!-- times: end -->")
	if !found {
		t.Fatal("no table of times")
	}
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)\\.([^`]+)` \\| ([^|]+) \\|").FindAllStringSubmatch(table, -1) {
		documented[row[3]] = true
		if row[1] != "failover" {
			continue // for the test of that package
		}
		want, known := own[row[2]]
		if d, ok := want.(time.Duration); ok {
			want = inWords(d)
		}
		if !known || row[3] != fmt.Sprint(want) {
			t.Errorf("docs/how-it-works/failover.md: %s is %s, but %v in the code", row[2], row[3], want)
		}
		delete(own, row[2])
	}
	for name := range own {
		t.Errorf("docs/how-it-works/failover.md lacks %s", name)
	}
	for _, number := range regexp.MustCompile(`\d+ (ms|s|min|h)\b`).FindAllString(before+after, -1) {
		if !documented[number] {
			t.Errorf("docs/how-it-works/failover.md says %s, which is not in its table", number)
		}
	}
}

// inWords formats a duration as the documents do.
func inWords(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprint(d.Milliseconds(), " ms")
	}
	return fmt.Sprint(d.Seconds(), " s")
}
