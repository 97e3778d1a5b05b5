package demo

import (
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// predicate is one condition on a record.
type predicate func(*record) bool

// conditionsOf reads the conditions of a query. What cannot be parsed is ignored,
// as the real API does, and so is a parameter that it does not know.
func conditionsOf(q url.Values, now time.Time) []predicate {
	var all []predicate
	for parameter, field := range map[string]string{
		"status": "status", "category": "category", "city": "city", "agency": "certifying_agency",
		"certifying_agency": "certifying_agency", "kosher_category": "kosher_category",
		"listing_type": "listing_type", "priceRange": "price_range", "kosherDetails": "kosher_details",
	} {
		if wanted := q.Get(parameter); wanted != "" {
			all = append(all, anyOf(field, wanted))
		}
	}
	for parameter, field := range map[string]string{"created_after": "created_at", "updated_after": "updated_at"} {
		if after := q.Get(parameter); after != "" {
			all = append(all, func(p *record) bool { return p.text(field) > after })
		}
	}
	if needle := strings.ToLower(strings.TrimSpace(q.Get("search"))); needle != "" {
		all = append(all, func(p *record) bool { return p.contains(needle) })
	}
	if least, ok := float(q, "ratingMin"); ok {
		all = append(all, func(p *record) bool { return p.number("rating") >= least })
	}
	part := q.Get("hoursFilter")
	if q.Get("openNow") == "true" || part == "openNow" {
		all = append(all, func(p *record) bool { return p.hours.open(now) })
	} else if part != "" {
		all = append(all, func(p *record) bool { return p.hours.during(part) })
	}
	return append(all, nearby(q)...)
}

// anyOf compares without case; wanted may be several values with commas.
func anyOf(field, wanted string) predicate {
	choices := strings.Split(strings.ToLower(wanted), ",")
	return func(p *record) bool { return slices.Contains(choices, strings.ToLower(p.text(field))) }
}

func float(q url.Values, name string) (float64, bool) {
	v, err := strconv.ParseFloat(q.Get(name), 64)
	return v, err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
}
