package demo

import (
	"fmt"
	"time"
)

// hours are the opening hours of a place in minutes after midnight, by
// time.Weekday. A day that closes at 0 is closed.
type hours struct {
	opens, closes [7]int
	utc           int // hours; standard time all the year, which a demonstration may
}

func makeHours(r *random, utc int) hours {
	h := hours{utc: utc}
	opens, closes, friday := 600+30*r.below(4), 1200+30*r.below(8), 840+30*r.below(3)
	for day := time.Sunday; day <= time.Thursday; day++ {
		h.opens[day], h.closes[day] = opens, closes
	}
	h.opens[time.Friday], h.closes[time.Friday] = opens, friday
	return h
}

// open tells whether the place is open at now.
func (h hours) open(now time.Time) bool {
	local := now.UTC().Add(time.Duration(h.utc) * time.Hour)
	minute := local.Hour()*60 + local.Minute()
	day := local.Weekday()
	return h.opens[day] <= minute && minute < h.closes[day]
}

// during tells whether the place serves at a time of day on weekdays, in the
// words of the parameter hoursFilter.
func (h hours) during(part string) bool {
	opens, closes := h.opens[time.Monday], h.closes[time.Monday]
	switch part {
	case "morning":
		return opens < 11*60
	case "afternoon":
		return opens < 17*60 && closes > 12*60
	case "evening":
		return closes > 18*60
	case "lateNight":
		return closes >= 22*60
	}
	return true
}

// json is the value of the field hours_json: null on a closed day.
func (h hours) json() map[string]any {
	week := map[string]any{}
	for day, name := range []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"} {
		if h.closes[day] == 0 {
			week[name] = nil
			continue
		}
		week[name] = map[string]any{"open": clock(h.opens[day]), "close": clock(h.closes[day])}
	}
	return week
}

func (h hours) text() string {
	return fmt.Sprintf("Sunday-Thursday %s-%s; Friday %s-%s; Saturday closed", clock(h.opens[0]), clock(h.closes[0]),
		clock(h.opens[time.Friday]), clock(h.closes[time.Friday]))
}

func clock(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }
