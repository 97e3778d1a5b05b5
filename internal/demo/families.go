package demo

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxRecords = 1000    // of a family, whatever clients create
	maxWrite   = 8 << 10 // bytes of a body that sets fields
	public     = "public, max-age=300"
)

// family is one kind of records, which all have the same endpoints. The
// server's mu guards it.
type family struct {
	name, single    string // "restaurants", "restaurant"
	count           int    // of records at the start
	first, last     int    // ids, between which the records are spread evenly
	size            int    // bytes of JSON of a record, on average
	filler          string // the field that is as long as the size asks for
	required        string // the field that a new record must have
	writer, remover string // roles
	fields          func(r *random, f *family, id int) record

	rows []record // oldest first
	next int      // the id of the next record
}

// record has the fields of a record by name, and its id among them.
type record map[string]any

func (p record) set(changes map[string]any, now time.Time) {
	maps.Copy(p, changes)
	p["updated_at"] = now.UTC().Format(time.RFC3339)
}

func (p record) text(field string) string {
	if value, ok := p[field]; ok {
		return fmt.Sprint(value)
	}
	return ""
}

func (f *family) find(id string) record {
	if i := slices.IndexFunc(f.rows, func(p record) bool { return p.text("id") == id }); i >= 0 {
		return f.rows[i]
	}
	return nil
}

func (s *server) list(r *request) reply {
	q := r.URL.Query()
	rows, about := cut(choose(r.family.rows, q), q, 50)
	page := map[string]any{"success": true, "data": rows, "pagination": about}
	if q.Get("include_filter_options") == "true" {
		page["filterOptions"] = r.family.filterOptions()
	}
	return tagged(page)
}

// tagged is a 200 with a strong ETag, which really is one, although requests
// with If-None-Match get the whole body again: so does the real API.
func tagged(v any) reply {
	a := answer(v)
	sum := sha256.Sum256(a.body)
	return a.with("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
}

// aliases are parameters that the front end calls otherwise than the field.
var aliases = map[string]string{"agency": "certifying_agency", "priceRange": "price_range", "kosherDetails": "kosher_details"}

// imitated are filters that would need opening hours or distances. Their
// values together pick a seventh of the records, always the same ones.
var imitated = []string{
	"ratingMin", "hoursFilter", "openNow", "created_after", "updated_after", "latitude", "longitude", "radius",
	"maxDistanceMi", "maxDistance", "distanceMi", "bounds",
}

// choose returns the records that a query asks for, newest first unless it asks
// for an ascending order. A parameter with the name of a field selects by its
// value, whatever the case; one that is unknown changes nothing.
func choose(rows []record, q url.Values) []record {
	var values []string
	for _, name := range imitated {
		if q.Has(name) {
			values = append(values, name+"="+q.Get(name))
		}
	}
	salt := strings.Join(values, "&")
	needle := strings.ToLower(q.Get("search"))
	kept := []record{}
	for _, p := range slices.Backward(rows) {
		if matches(p, q) && contains(p, needle) && (salt == "" || hash(salt+p.text("id"))%7 == 0) {
			kept = append(kept, p)
		}
	}
	if strings.HasSuffix(q.Get("sort"), "_asc") {
		slices.Reverse(kept)
	}
	return kept
}

func matches(p record, q url.Values) bool {
	for name := range q {
		wanted, has := q.Get(name), p.text(cmp.Or(aliases[name], name))
		if wanted != "" && has != "" && !slices.Contains(imitated, name) && !strings.EqualFold(has, wanted) {
			return false
		}
	}
	return true
}

// contains looks for a needle in lower case in what a search reads.
func contains(p record, needle string) bool {
	return strings.Contains(strings.ToLower(p.text("name")+"\n"+p.text("city")+"\n"+p.text("certifying_agency")), needle)
}

func hash(text string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(text)) // a hash takes everything
	return h.Sum32()
}

// cut returns a page of rows, by limit and either page or cursor, and its
// description for the client.
func cut(rows []record, q url.Values, most int) ([]record, map[string]any) {
	limit := min(positive(q.Get("limit"), 20), most)
	from := (min(positive(q.Get("page"), 1), 1_000_000) - 1) * limit
	from = min(positive(q.Get("cursor"), from), len(rows))
	to := min(from+limit, len(rows))
	about := map[string]any{
		"page": from/limit + 1, "limit": limit, "total_count": len(rows), "has_more": to < len(rows), "next_cursor": nil,
	}
	if to < len(rows) {
		about["next_cursor"] = strconv.Itoa(to)
	}
	return rows[from:to], about
}

func positive(text string, otherwise int) int {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return n
	}
	return otherwise
}

func (s *server) detail(r *request) reply {
	return tagged(map[string]any{"success": true, "data": r.record})
}

func (s *server) options(r *request) reply { return success(r.family.filterOptions()) }

// filterOptions are the values that a client may choose from.
func (f *family) filterOptions() map[string][]string {
	options := map[string][]string{"hoursOptions": {"openNow", "morning", "afternoon", "evening", "lateNight"}}
	for name, field := range map[string]string{
		"agencies": "certifying_agency", "cities": "city", "kosherCategories": "kosher_category", "priceRanges": "price_range",
	} {
		found := map[string]bool{}
		for _, p := range f.rows {
			if text := p.text(field); text != "" {
				found[text] = true
			}
		}
		options[name] = slices.Sorted(maps.Keys(found))
	}
	return options
}

// writable are the fields that a client may set, with a value of their type; the
// others of a body are ignored, as by the real API.
var writable = map[string]any{
	"name": "", "title": "", "description": "", "content": "", "address": "", "city": "", "phone_number": "", "email": "",
	"website": "", "price_range": "", "kosher_category": "", "certifying_agency": "",
	"rating": 0., "entity_type": "", "entity_id": 0., "restaurant_id": 0.,
}

// changes is nil if the body sets a field to a value of another type.
func (r *request) changes() map[string]any {
	found := map[string]any{}
	for field, example := range writable {
		switch value, ok := r.body[field]; {
		case !ok:
		case len(r.raw) > maxWrite || reflect.TypeOf(value) != reflect.TypeOf(example):
			return nil
		default:
			found[field] = value
		}
	}
	return found
}

func (s *server) create(r *request) reply {
	f, changes := r.family, r.changes()
	switch {
	case changes[f.required] == nil:
		return failure(http.StatusBadRequest, "Validation failed")
	case len(f.rows) >= maxRecords:
		return failure(http.StatusConflict, "too many records")
	}
	p := record{
		"id": f.next, "status": "active", "listing_type": f.single, "view_count": 0, "created_at": r.now.UTC().Format(time.RFC3339),
	}
	p.set(changes, r.now)
	f.next++
	f.rows = append(f.rows, p)
	return success(p).as(http.StatusCreated)
}

func (s *server) update(r *request) reply {
	changes := r.changes()
	if len(changes) == 0 {
		return failure(http.StatusBadRequest, "Validation failed")
	}
	r.record.set(changes, r.now)
	return success(r.record)
}

func (s *server) remove(r *request) reply {
	id := r.record.text("id")
	r.family.rows = slices.DeleteFunc(r.family.rows, func(p record) bool { return p.text("id") == id })
	return success(map[string]any{"id": r.record["id"]})
}

// count adds 1 to a field, if the family has it.
func count(field string) func(*server, *request) reply {
	return func(_ *server, r *request) reply {
		if n, ok := r.record[field].(int); ok {
			r.record[field] = n + 1
		}
		return success(map[string]any{"id": r.record["id"], field: r.record[field]})
	}
}

// reviewStats counts the reviews of one place.
func (s *server) reviewStats(r *request) reply {
	of := url.Values{"entity_type": {r.PathValue("type")}, "entity_id": {r.PathValue("entity")}}
	return success(map[string]any{"total": len(choose(r.family.rows, of))})
}

// search serves /search/ and what stands below it: a family, filters, suggest
// and popular.
func (s *server) search(r *request) reply {
	q, what := r.URL.Query(), r.PathValue("what")
	var hits []record
	filters := map[string]any{}
	for _, f := range s.families {
		filters[f.name] = f.filterOptions()
		for _, p := range f.rows {
			if contains(p, strings.ToLower(q.Get("q"))) && slices.Contains([]string{"", "suggest", "popular", f.name}, what) {
				hits = append(hits, p)
			}
		}
	}
	rows, about := cut(hits, q, 100)
	names := make([]string, len(rows))
	for i, p := range rows {
		names[i] = p.text("name")
	}
	data := map[string]any{"results": rows, "pagination": about}
	switch what {
	case "suggest", "popular":
		data = map[string]any{"suggestions": names}
	case "filters":
		data = filters
	}
	return success(data).with("Cache-Control", public)
}
