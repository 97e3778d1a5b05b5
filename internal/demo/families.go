package demo

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"maps"
	"net/http"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxRecords = 1000    // per family, including those that clients create
	maxWrite   = 8 << 10 // bytes of a body that sets fields
	public     = "public, max-age=300"
)

// record maps the fields of a record to values, including its id.
type record map[string]any

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
	rows, about := cut(choose(r.family.rows, q), q)
	page := map[string]any{"success": true, "data": rows, "pagination": about}
	if q.Get("include_filter_options") == "true" {
		page["filterOptions"] = filterOptions()
	}
	return tagged(page)
}

// tagged returns a 200 with a correct strong ETag. Requests with If-None-Match still get the whole
// body, as from the real API.
func tagged(v any) reply {
	a := answer(v)
	sum := sha256.Sum256(a.body)
	return a.with("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
}

// aliases maps the front end's parameters to fields with another name.
var aliases = map[string]string{"agency": "certifying_agency", "priceRange": "price_range"}

// imitated are filters that would need opening hours or distances. Together, their values pick a
// seventh of the records, always the same ones.
var imitated = []string{
	"ratingMin", "hoursFilter", "openNow", "created_after", "updated_after", "latitude", "longitude", "radius",
	"maxDistanceMi", "maxDistance", "distanceMi", "bounds",
}

// choose returns the records that match a query, newest first unless it asks for an ascending
// order. A parameter named like a field filters by its value, ignoring case; unknown parameters are
// ignored.
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
		if matches(p, q) && contains(p, needle) && (salt == "" || crc32.ChecksumIEEE([]byte(salt+p.text("id")))%7 == 0) {
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

// contains looks for a lower-case needle in the searched fields.
func contains(p record, needle string) bool {
	return strings.Contains(strings.ToLower(p.text("name")+"\n"+p.text("city")+"\n"+p.text("certifying_agency")), needle)
}

// cut returns a page of at most 50 rows, by limit and either page or cursor, and its description
// for the client.
func cut(rows []record, q url.Values) ([]record, map[string]any) {
	limit := min(positive(q.Get("limit"), 20), 50)
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

// filterOptions returns the values that a client may filter by.
func filterOptions() map[string][]string {
	values := map[string][]string{}
	for _, o := range options {
		values[o.name] = o.values
	}
	return values
}

// writable are the fields that a client may set, with an example value of their type; other fields
// of a body are ignored, as by the real API.
var writable = map[string]any{
	"name": "", "title": "", "description": "", "content": "", "address": "", "city": "", "price_range": "",
	"kosher_category": "", "certifying_agency": "", "entity_type": "", "rating": 0., "entity_id": 0., "restaurant_id": 0.,
}

// changes returns the fields to set, or nil if a value has the wrong type or the body is too large.
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

// write creates a record, or changes the one in the path.
func (s *server) write(r *request) reply {
	changes, p, status := r.changes(), r.record, http.StatusOK
	now := r.now.UTC().Format(time.RFC3339)
	if len(changes) == 0 {
		return failure(http.StatusBadRequest, "Validation failed")
	}
	if f := r.family; p == nil {
		if len(f.rows) >= maxRecords {
			return failure(http.StatusConflict, "too many records")
		}
		p, status = record{"id": f.next, "status": "active", "view_count": 0, "created_at": now}, http.StatusCreated
		f.next++
		f.rows = append(f.rows, p)
	}
	maps.Copy(p, changes)
	p["updated_at"] = now
	return success(p).as(status)
}

func (s *server) remove(r *request) reply {
	id := r.record.text("id")
	r.family.rows = slices.DeleteFunc(r.family.rows, func(p record) bool { return p.text("id") == id })
	return success(map[string]any{"id": r.record["id"]})
}

// counted are the fields that count clients' actions; other actions are not counted.
var counted = map[string]string{"view": "view_count", "claim": "claims", "redeem": "redemptions"}

// act serves an action on a record that does not change its content.
func (s *server) act(r *request) reply {
	action := path.Base(r.URL.Path)
	if field := counted[action]; field != "" {
		n, _ := r.record[field].(int)
		r.record[field] = n + 1
	}
	return success(map[string]any{"id": r.record["id"], "action": action})
}

// suggest answers every search with the names of the matches.
func (s *server) suggest(r *request) reply {
	needle, names := strings.ToLower(r.URL.Query().Get("q")), []string{}
	for _, f := range s.families {
		for _, p := range f.rows {
			if len(names) < 20 && contains(p, needle) {
				names = append(names, p.text("name"))
			}
		}
	}
	return success(map[string]any{"suggestions": names}).with("Cache-Control", public)
}
