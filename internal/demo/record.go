package demo

import (
	"bytes"
	"encoding/json"
	"time"
)

// record is one restaurant, synagogue, mikvah or store.
type record struct {
	id     int
	fields map[string]any // as in lists
	extra  map[string]any // what a detail has besides
	hours  hours

	row  []byte // fields as JSON, nil when they have changed
	open bool   // is_open in row
}

// json is the record as a row of a list.
func (p *record) json(now time.Time) []byte {
	if open := p.hours.open(now); p.row == nil || open != p.open {
		p.open = open
		p.fields["is_open"] = open
		p.row = encode(p.fields)
	}
	return p.row
}

// set changes one field.
func (p *record) set(field string, value any) {
	p.fields[field] = value
	p.row = nil
}

// number is a numeric field, 0 if there is none.
func (p *record) number(field string) float64 {
	switch v := p.fields[field].(type) {
	case int:
		return float64(v)
	case float64:
		return v
	}
	return 0
}

func (p *record) text(field string) string {
	s, _ := p.fields[field].(string)
	return s
}

// encode is compact JSON with sorted keys, as Flask writes it. It panics on a
// value that JSON does not know: no such value is ever stored.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("demo: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
