package demo

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// maxRecords bounds each kind, whatever clients create.
const maxRecords = 1000

var (
	errFull   = errors.New("too many records")
	errFields = errors.New("no valid fields")
)

// collection holds the records of one kind. The server's mu guards it.
type collection struct {
	kind, single string // "restaurants", "restaurant"
	rows         []*record
	next         int // the id of the next record
}

func newCollection(kind, single string, rows []*record) *collection {
	return &collection{kind: kind, single: single, rows: rows, next: rows[len(rows)-1].id + 1}
}

// find returns the record with id, or nil.
func (c *collection) find(id int) *record {
	if i := slices.IndexFunc(c.rows, func(p *record) bool { return p.id == id }); i >= 0 {
		return c.rows[i]
	}
	return nil
}

// create adds a record made of the writable fields of body.
func (c *collection) create(body map[string]any, now time.Time) (*record, error) {
	changes, err := writableOf(body)
	if err != nil {
		return nil, err
	}
	if _, ok := changes["name"]; !ok {
		return nil, errFields
	}
	if len(c.rows) >= maxRecords {
		return nil, errFull
	}
	at := now.UTC().Format(time.RFC3339)
	p := &record{id: c.next, fields: map[string]any{
		"id": c.next, "status": "active", "listing_type": c.single, "category": c.single,
		"rating": 0, "review_count": 0, "view_count": 0, "created_at": at, "updated_at": at,
	}}
	add(p.fields, changes)
	c.next++
	c.rows = append(c.rows, p)
	return p, nil
}

// update changes the writable fields of p that body has.
func (p *record) update(body map[string]any, now time.Time) error {
	changes, err := writableOf(body)
	if err != nil {
		return err
	}
	for field, value := range changes {
		p.set(field, value)
	}
	p.set("updated_at", now.UTC().Format(time.RFC3339))
	return nil
}

func (c *collection) remove(id int) bool {
	n := len(c.rows)
	c.rows = slices.DeleteFunc(c.rows, func(p *record) bool { return p.id == id })
	return len(c.rows) < n
}

// writable are the fields that a client may set, all of them strings.
var writable = []string{
	"name", "description", "short_description", "address", "city", "state", "zip_code", "phone_number", "email",
	"website", "image_url", "price_range", "kosher_category", "kosher_details", "certifying_agency", "status",
}

// writableOf ignores what else body has, as the real API does, and refuses a
// body without any writable field or with one that is no short string.
func writableOf(body map[string]any) (map[string]any, error) {
	changes := map[string]any{}
	for _, field := range writable {
		value, ok := body[field]
		if !ok {
			continue
		}
		text, ok := value.(string)
		if !ok || len(text) > 2000 {
			return nil, errFields
		}
		changes[field] = text
	}
	if len(changes) == 0 {
		return nil, errFields
	}
	return changes, nil
}

// values are the different texts of field, sorted.
func (c *collection) values(field string) []string {
	found := []string{}
	for _, p := range c.rows {
		if text := p.text(field); text != "" {
			found = append(found, text)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// filterOptions is what a client may choose from; what a kind does not have
// is left out.
func (c *collection) filterOptions() map[string]any {
	options := map[string]any{"hoursOptions": []string{"openNow", "morning", "afternoon", "evening", "lateNight"}}
	for name, field := range map[string]string{
		"agencies": "certifying_agency", "cities": "city", "states": "state", "kosherCategories": "kosher_category",
		"kosherDetails": "kosher_details", "listingTypes": "listing_type", "priceRanges": "price_range",
		"categories": "category", "denominations": "denomination",
	} {
		if values := c.values(field); len(values) > 0 {
			options[name] = values
		}
	}
	return options
}

// contains tells whether the needle, in lower case, stands in one of the
// fields that a search reads.
func (p *record) contains(needle string) bool {
	return slices.ContainsFunc([]string{"name", "description", "address", "city", "certifying_agency"}, func(field string) bool {
		return strings.Contains(strings.ToLower(p.text(field)), needle)
	})
}
