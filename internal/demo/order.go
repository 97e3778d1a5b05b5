package demo

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"time"
)

// choose filters and sorts rows, newest first unless the query says otherwise.
func choose(rows []*record, q url.Values, now time.Time) []*record {
	conditions := conditionsOf(q, now)
	var kept []*record
	for _, p := range rows {
		if !slices.ContainsFunc(conditions, func(ok predicate) bool { return !ok(p) }) {
			kept = append(kept, p)
		}
	}
	slices.SortStableFunc(kept, func(a, b *record) int { return cmp.Compare(b.id, a.id) })
	field, order := cutLast(q.Get("sort"))
	from, located := location(q)
	var compare func(a, b *record) int
	switch {
	case field == "distance" && located:
		compare = func(a, b *record) int { return cmp.Compare(from.km(a), from.km(b)) }
	case field == "rating" || field == "view_count":
		compare = func(a, b *record) int { return cmp.Compare(a.number(field), b.number(field)) }
	case field == "name" || field == "updated_at":
		compare = func(a, b *record) int { return cmp.Compare(a.text(field), b.text(field)) }
	default: // created_at: the order of ids
		field = "created_at"
		compare = func(a, b *record) int { return cmp.Compare(a.id, b.id) }
	}
	descending := order == "desc" || (order != "asc" && field == "created_at")
	slices.SortStableFunc(kept, func(a, b *record) int {
		if descending {
			return compare(b, a)
		}
		return compare(a, b)
	})
	return kept
}

// cutLast splits "created_at_desc" into "created_at" and "desc".
func cutLast(sort string) (field, order string) {
	i := strings.LastIndexByte(sort, '_')
	if i < 0 {
		return sort, ""
	}
	return sort[:i], sort[i+1:]
}
