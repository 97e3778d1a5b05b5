package yamlfile

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Field is a key of a struct with the rules of its tags. The decoder uses the same jsonschema tag as
// the JSON Schema for editors, so that they agree.
type Field struct {
	Index    int // of the struct's field
	Required bool
	Enum     []string
	Min, Max *int // nil: no bound
	MinItems int

	check string
}

// problem returns what is wrong with a string or a number, or "".
func (f *Field) problem(v reflect.Value) string {
	text := fmt.Sprint(v)
	if len(f.Enum) > 0 && !slices.Contains(f.Enum, text) {
		if v.Kind() == reflect.String {
			text = strconv.Quote(Clip(text)) + Suggest(text, f.Enum)
		}
		return fmt.Sprintf("expected %s, found %s", OneOf(f.Enum), text)
	}
	switch {
	case f.Min != nil && v.Int() < int64(*f.Min):
		return fmt.Sprintf("%d is too small: at least %d", v.Int(), *f.Min)
	case f.Max != nil && v.Int() > int64(*f.Max):
		return fmt.Sprintf("%d is too large: at most %d", v.Int(), *f.Max)
	}
	return ""
}

// FieldsOf returns the fields of a struct by their yaml tags.
func FieldsOf(t reflect.Type) map[string]Field {
	fields := make(map[string]Field, t.NumField())
	for i := range t.NumField() {
		tags := t.Field(i).Tag
		f := Field{Index: i, check: tags.Get("check")}
		f.obey(tags.Get("jsonschema"))
		fields[tags.Get("yaml")] = f
	}
	return fields
}

// obey reads a jsonschema tag.
func (f *Field) obey(tag string) {
	for part := range strings.SplitSeq(tag, ",") {
		name, value, _ := strings.Cut(part, "=")
		number, err := strconv.Atoi(value)
		switch {
		case name == "":
		case name == "required":
			f.Required = true
		case name == "enum":
			f.Enum = append(f.Enum, value)
		case name == "minimum" && err == nil:
			f.Min = &number
		case name == "maximum" && err == nil:
			f.Max = &number
		case name == "minItems" && err == nil:
			f.MinItems = number
		default:
			panic("yamlfile: jsonschema tag that the decoder does not know: " + part)
		}
	}
}

// ApplyDefaults fills a struct, and those within it, with the defaults of their tags. Other values are
// kept. Items of a list are separated by commas.
func ApplyDefaults(v reflect.Value) {
	if v.Kind() != reflect.Struct || ReadsItself(v.Type()) {
		return
	}
	for i := range v.NumField() {
		f, text := v.Field(i), v.Type().Field(i).Tag.Get("default")
		switch {
		case text == "":
			ApplyDefaults(f)
		case f.Kind() == reflect.Slice:
			f.SetZero()
			for item := range strings.SplitSeq(text, ",") {
				elem := reflect.New(f.Type().Elem()).Elem()
				mustSet(elem, item)
				f.Set(reflect.Append(f, elem))
			}
		default:
			mustSet(f, text)
		}
	}
}

// mustSet panics at an invalid default, which is a mistake in a tag.
func mustSet(v reflect.Value, text string) {
	if err := setText(v, text); err != nil {
		panic(fmt.Sprintf("yamlfile: default %q: %v", text, err))
	}
}

// errForm is setText's error for a text of the wrong form, such as a word for a number.
var errForm = errors.New("wrong form")

// setText sets v to the value of text.
func setText(v reflect.Value, text string) error {
	if self, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		return self.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		value := strings.ToLower(text)
		if value != "true" && value != "false" {
			return errForm
		}
		v.SetBool(value == "true")
	case reflect.Int:
		number, err := strconv.Atoi(text)
		if err != nil || strconv.Itoa(number) != text {
			return errForm
		}
		v.SetInt(int64(number))
	default:
		panic("yamlfile: no decoder for " + v.Type().String())
	}
	return nil
}

// ReadsItself reports whether a type implements encoding.TextUnmarshaler.
func ReadsItself(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// ofValues reports whether a list's items are written as scalars.
func ofValues(list reflect.Type) bool {
	return list.Elem().Kind() != reflect.Struct || ReadsItself(list.Elem())
}

// Below strips pointers, lists and mappings from a field's type. path is what they add to the paths of
// the keys below: [] and .NAME. Any other type is returned as it is.
func Below(t reflect.Type) (below reflect.Type, path string) {
	for ; ; t = t.Elem() {
		switch t.Kind() {
		case reflect.Slice:
			path += "[]"
		case reflect.Map:
			path += ".NAME"
		case reflect.Pointer:
		default:
			return t, path
		}
	}
}

// KeysBelow returns the paths of all keys of a struct and of those below it, by name, the nearest
// first.
func KeysBelow(t reflect.Type) map[string][]string {
	all := map[string][]string{}
	var collect func(t reflect.Type, path string)
	collect = func(t reflect.Type, path string) {
		for name, f := range FieldsOf(t) {
			at := join(path, name)
			all[name] = append(all[name], at)
			if below, more := Below(t.Field(f.Index).Type); below.Kind() == reflect.Struct && !ReadsItself(below) {
				collect(below, at+more)
			}
		}
	}
	collect(t, "")
	for _, places := range all {
		slices.SortFunc(places, func(a, b string) int {
			return cmp.Or(strings.Count(a, ".")-strings.Count(b, "."), strings.Compare(a, b))
		})
	}
	return all
}

// rightPlace returns ` (did you mean path?)` for a key that belongs below the struct that it was
// written in, that other programs use, or that exists in exactly one other place; else "".
func (d *decoder) rightPlace(name string, in reflect.Type) string {
	there := d.Words[strings.ToLower(name)]
	if here := d.keysBelow(in)[name]; len(here) > 0 {
		there = here[0]
	} else if elsewhere := d.keysBelow(d.root)[name]; there == "" && len(elsewhere) == 1 {
		there = elsewhere[0]
	}
	switch {
	case there == "":
		return ""
	case strings.Contains(there, " "):
		return " (" + there + ")"
	}
	return fmt.Sprintf(" (did you mean %s?)", there)
}

// keysBelow caches KeysBelow for one file, since it may have many unknown keys.
func (d *decoder) keysBelow(t reflect.Type) map[string][]string {
	if d.below[t] == nil {
		d.below[t] = KeysBelow(t)
	}
	return d.below[t]
}

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
