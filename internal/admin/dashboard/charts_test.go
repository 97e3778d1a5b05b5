package dashboard

import (
	"math"
	"strings"
	"testing"
	"time"
)

// A value between two moments without requests must be seen.
func TestLonelyValueIsDrawn(t *testing.T) {
	nan := math.NaN()
	times := make([]time.Time, 5)
	for i := range times {
		times[i] = time.Unix(int64(5*i), 0)
	}
	c := draw("Duration", times, .001, false, series{"p50", "ok", []float64{nan, .1, nan, .2, nan}, millis})
	if l := c.Lines[0]; !strings.ContainsAny(l.Path, "LHh") {
		t.Errorf("the path %q draws nothing", l.Path)
	}
	if l := c.Lines[0]; l.Now != "–" {
		t.Errorf("now %q, but there is no value now", l.Now)
	}
}
