package policy

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// rules are what a field's jsonschema tag asks of its value. The decoder obeys
// the same tags that the JSON Schema is generated from, so that an editor and
// the gateway agree.
type rules struct {
	required bool
	enum     []string
	min, max *int
	minItems int
}

// checkNumber says what is wrong with a number, or "".
func (r rules) checkNumber(n int) string {
	switch {
	case len(r.enum) > 0 && !slices.Contains(r.enum, strconv.Itoa(n)):
		return fmt.Sprintf("expected %s, found %d", oneOf(r.enum), n)
	case r.min != nil && n < *r.min:
		return fmt.Sprintf("%d is too small: at least %d", n, *r.min)
	case r.max != nil && n > *r.max:
		return fmt.Sprintf("%d is too large: at most %d", n, *r.max)
	}
	return ""
}

// field is a key of a struct.
type field struct {
	index int
	rules
}

// fieldsOf gives the keys of a struct of the surface by their yaml tags.
func fieldsOf(t reflect.Type) map[string]field {
	fields := make(map[string]field, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		fields[f.Tag.Get("yaml")] = field{i, rulesOf(f.Tag.Get("jsonschema"))}
	}
	return fields
}

func rulesOf(tag string) (r rules) {
	for part := range strings.SplitSeq(tag, ",") {
		name, value, _ := strings.Cut(part, "=")
		number, err := strconv.Atoi(value)
		switch {
		case name == "":
		case name == "required":
			r.required = true
		case name == "enum":
			r.enum = append(r.enum, value)
		case name == "minimum" && err == nil:
			r.min = &number
		case name == "maximum" && err == nil:
			r.max = &number
		case name == "minItems" && err == nil:
			r.minItems = number
		default:
			panic("policy: a tag that only the schema would obey: " + part)
		}
	}
	return r
}

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
