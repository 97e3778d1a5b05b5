package dashboard

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// chart is a picture of numbers over time, drawn by its template as SVG.
type chart struct {
	Title string
	Most  string // the value at its top
	From  string // the time at its left edge
	Lines []line
}

// line is one series of a chart.
type line struct {
	Name, Class string
	Now         string // its last value
	Path        string // in SVG, within width and height
	Area        bool
}

// The size of a chart in the units of its paths.
const width, height = 600, 100

// series is what a line is drawn from.
type series struct {
	name, class string
	values      []float64 // NaN: none
	text        func(float64) string
}

// draw draws series side by side or, stacked, each on top of those before it. times has the moment of
// each value. top is the least value at the top.
func draw(title string, times []time.Time, top float64, stacked bool, all ...series) chart {
	c := chart{Title: title}
	if len(times) > 0 {
		c.From = times[0].Format("15:04")
	}
	sums := make([]float64, len(times))
	most := top
	for _, s := range all {
		for i, v := range s.values {
			if stacked {
				sums[i] += v
				v = sums[i]
			}
			if !math.IsNaN(v) {
				most = max(most, v)
			}
		}
	}
	c.Most = all[0].text(most)
	x := func(i int) float64 {
		span := times[len(times)-1].Sub(times[0]).Seconds()
		return width * times[i].Sub(times[0]).Seconds() / max(span, 1)
	}
	y := func(v float64) float64 { return height * (1 - v/most) }
	below := make([]float64, len(times))
	for _, s := range all {
		l := line{Name: s.name, Class: s.class, Now: "–", Area: stacked}
		var path, back strings.Builder
		pen := "M"
		for i, v := range s.values {
			if math.IsNaN(v) {
				pen, l.Now = "M", "–"
				continue
			}
			l.Now = s.text(v)
			if pen == "M" && i > 0 && !stacked { // it is of the time since the moment before: one alone is seen too
				fmt.Fprintf(&path, "M%.1f %.1f", x(i-1), y(v))
				pen = "L"
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", pen, x(i), y(below[i]+v))
			pen = "L"
		}
		if stacked {
			for i := len(s.values) - 1; i >= 0; i-- {
				fmt.Fprintf(&back, "L%.1f %.1f", x(i), y(below[i]))
				below[i] += s.values[i]
			}
			if len(s.values) > 0 {
				back.WriteString("Z")
			}
		}
		l.Path = path.String() + back.String()
		c.Lines = append(c.Lines, l)
	}
	return c
}

// charts draws /v1/history.
func charts(history any) []chart {
	moments := list(field(history, "moments"))
	var times []time.Time
	n := len(moments)
	ok, refused, limited, failed := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
	p50, p99, hits := make([]float64, n), make([]float64, n), make([]float64, n)
	for i, m := range moments {
		requests := field(m, "requests")
		seconds := max(number(field(m, "seconds")), .001)
		refused[i], limited[i], failed[i] = number(field(m, "refused"))/seconds, number(field(m, "limited"))/seconds, number(field(m, "failed"))/seconds
		ok[i] = max(0, number(field(requests, "rate"))-refused[i]-limited[i]-failed[i])
		p50[i], p99[i], hits[i] = math.NaN(), math.NaN(), math.NaN()
		if number(field(requests, "count")) > 0 {
			p50[i], p99[i] = number(field(requests, "p50")), number(field(requests, "p99"))
		}
		if cached := number(field(m, "cached")); cached > 0 {
			hits[i] = number(field(m, "hits")) / cached
		}
		times = append(times, moment(field(m, "at")))
	}
	return []chart{
		draw("Requests", times, 1, true, series{"answered", "ok", ok, perSecond}, series{"4xx", "other", refused, perSecond}, series{"429", "warn", limited, perSecond}, series{"5xx", "bad", failed, perSecond}),
		draw("Duration", times, .001, false, series{"p50", "ok", p50, millis}, series{"p99", "warn", p99, millis}),
		draw("Cache hits", times, 1, false, series{"hits", "ok", hits, percent}),
	}
}

// stretch is a time in one state, as a part of a timeline.
type stretch struct {
	State string
	X, W  float64 // of width
	From  time.Time
}

// timelineSpan is how far back a timeline reaches.
const timelineSpan = time.Hour

// timeline returns the states of a Redis in the last hour.
func timeline(redis any, now time.Time) (all []stretch) {
	history := list(field(redis, "history"))
	start := now.Add(-timelineSpan)
	x := func(t time.Time) float64 { return width * max(0, t.Sub(start).Seconds()) / timelineSpan.Seconds() }
	for i, c := range history {
		from, to := moment(field(c, "at")), now
		if i+1 < len(history) {
			to = moment(field(history[i+1], "at"))
		}
		if to.Before(start) {
			continue
		}
		state, _ := field(c, "to").(string)
		all = append(all, stretch{state, x(from), max(1, x(to)-x(from)), from})
	}
	return all
}
