package policy

import (
	"cmp"
	"encoding"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	// maxValues bounds how many values a file may come to once its aliases are
	// followed. It refuses alias bombs; an honest file has a few thousand.
	maxValues = 20_000
	// maxItems bounds lists and mappings: routes are compared with each other.
	maxItems = 1000
)

// decoder turns a YAML tree into the structs of the surface, strictly, and
// notes in the document where everything stood. It follows the types, so its
// depth is theirs, whatever the file nests.
type decoder struct {
	*document
	getenv func(string) string
	values int
}

var (
	textType       = reflect.TypeFor[encoding.TextUnmarshaler]()
	stringListType = reflect.TypeFor[StringList]()
	costsType      = reflect.TypeFor[Costs]()
)

// value decodes n into v, which is named path and obeys rule.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string, rule rules) {
	if !d.spend(n) {
		return
	}
	d.places[path] = d.place(n)
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	t := v.Type()
	switch {
	case n.Style&yaml.TaggedStyle != 0:
		d.unreadable(path, d.place(n), "tags such as %s are not supported", clip(n.Tag))
	case readsItself(t):
		d.text(n, v, path)
	case t.Kind() == reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		applyDefaults(v.Elem())
		d.structure(n, v.Elem(), path)
	case t.Kind() == reflect.Struct:
		d.structure(n, v, path)
	case t == costsType && n.Kind == yaml.ScalarNode:
		number := 0
		if d.scalar(n, reflect.ValueOf(&number).Elem(), path, rule); number != 0 {
			v.Set(reflect.ValueOf(Costs{"": number}))
		}
	case t.Kind() == reflect.Map:
		d.mapping(n, v, path, rule)
	case t.Kind() == reflect.Slice && ofValues(t) && n.Kind == yaml.ScalarNode && n.Tag != "!!null":
		d.listOfOne(n, v, path, rule)
	case t.Kind() == reflect.Slice:
		d.list(n, v, path, rule)
	default:
		d.scalar(n, v, path, rule)
	}
}

// spend counts a value against maxValues; false stops decoding.
func (d *decoder) spend(n *yaml.Node) bool {
	d.values++
	if d.values == maxValues {
		d.unreadable("", d.place(n), "aliases make this file larger than %d values", maxValues)
	}
	return d.values < maxValues
}

func (d *decoder) place(n *yaml.Node) Position { return Position{d.file, n.Line, n.Column} }

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.unreadable(path, d.place(n), "expected a mapping, found %s", describe(n))
		return
	}
	fields := fieldsOf(v.Type())
	seen := map[string]bool{}
	for _, p := range d.pairs(n, path) {
		name := p.key.Value
		f, ok := fields[name]
		if !ok {
			d.typos[path] = true
			d.report(d.place(p.key), "unknown key %q%s", name, cmp.Or(suggest(name, keys(fields)), rightPlace(name, v.Type())))
			continue
		}
		seen[name] = true
		d.value(p.value, v.Field(f.index), join(path, name), f.rules)
	}
	for name, f := range fields {
		if f.required && !seen[name] {
			d.missing(path, "missing key %q", name)
		}
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string, rule rules) {
	if n.Kind != yaml.MappingNode {
		d.unreadable(path, d.place(n), "expected a mapping, found %s", describe(n))
		return
	}
	pairs := d.pairs(n, path)
	if len(pairs) > maxItems {
		d.unreadable(path, d.place(n), "%d keys are too many: at most %d", len(pairs), maxItems)
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, p := range pairs {
		elem := reflect.New(v.Type().Elem()).Elem()
		applyDefaults(elem)
		d.value(p.value, elem, join(path, p.key.Value), rules{min: rule.min, max: rule.max})
		v.SetMapIndex(reflect.ValueOf(p.key.Value), elem)
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string, rule rules) {
	if n.Kind != yaml.SequenceNode {
		d.unreadable(path, d.place(n), "expected a list, found %s", describe(n))
		return
	}
	if len(n.Content) > maxItems {
		d.unreadable(path, d.place(n), "%d in the list are too many: at most %d", len(n.Content), maxItems)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, len(n.Content)))
	for _, item := range n.Content {
		at := index(path, v.Len())
		elem := reflect.New(v.Type().Elem()).Elem()
		applyDefaults(elem)
		delete(d.empty, at)
		d.value(item, elem, at, rules{enum: rule.enum})
		if !d.empty[at] { // an item that the environment leaves empty is no item
			v.Set(reflect.Append(v, elem))
		}
	}
	if v.Len() < rule.minItems {
		d.unreadable(path, d.place(n), "expected at least %d in the list, found %d", rule.minItems, v.Len())
	}
}

// readsItself reports whether values of a type are made of text.
func readsItself(t reflect.Type) bool { return reflect.PointerTo(t).Implements(textType) }

// ofValues reports whether a list's items are written as scalars.
func ofValues(list reflect.Type) bool {
	return list.Elem().Kind() != reflect.Struct || readsItself(list.Elem())
}

// listOfOne decodes a scalar where a list of scalars is asked for.
func (d *decoder) listOfOne(n *yaml.Node, v reflect.Value, path string, rule rules) {
	one := reflect.MakeSlice(v.Type(), 1, 1)
	if readsItself(v.Type().Elem()) {
		d.text(n, one.Index(0), path)
	} else {
		d.scalar(n, one.Index(0), path, rules{enum: rule.enum})
	}
	switch {
	case !d.empty[path]:
		v.Set(one)
	case rule.minItems > 0:
		d.unreadable(path, d.place(n), "expected at least %d in the list, found 0", rule.minItems)
	}
}

// content gives a scalar's text with its variables expanded. What came from a
// variable has no type of its own: it is whatever is asked for.
func (d *decoder) content(n *yaml.Node, path, want string) (text string, untyped, ok bool) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.unreadable(path, d.place(n), "expected %s, found %s", want, describe(n))
		return "", false, false
	}
	text, untyped, err := expand(n.Value, d.getenv)
	if err != nil {
		d.unreadable(path, d.place(n), "%v", err)
		return "", false, false
	}
	if untyped && text == "" {
		d.empty[path] = true
	}
	return text, untyped, true
}

// text decodes a scalar whose type reads it by itself. Where a variable is
// empty, the default stays.
func (d *decoder) text(n *yaml.Node, v reflect.Value, path string) {
	text, _, ok := d.content(n, path, "a value")
	if !ok || d.empty[path] {
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
		d.unreadable(path, d.place(n), "%v", err)
	}
}

// scalar decodes a string, a bool or an int.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string, rule rules) {
	want := map[reflect.Kind]string{reflect.String: "a string", reflect.Bool: "true or false", reflect.Int: "a whole number"}[v.Kind()]
	if len(rule.enum) > 0 && v.Kind() == reflect.String {
		want = oneOf(rule.enum)
	}
	text, untyped, ok := d.content(n, path, want)
	if !ok || d.empty[path] {
		return
	}
	mismatch := func(hint string) {
		d.unreadable(path, d.place(n), "expected %s, found %s%s", want, describe(n), hint)
	}
	switch v.Kind() {
	case reflect.String:
		if !untyped && n.Tag != "!!str" {
			if len(rule.enum) > 0 {
				mismatch("")
			} else {
				mismatch(" (quote it)")
			}
			return
		}
		if len(rule.enum) > 0 && !slices.Contains(rule.enum, text) {
			d.unreadable(path, d.place(n), "expected %s, found %q%s", oneOf(rule.enum), clip(text), suggest(text, rule.enum))
			return
		}
		v.SetString(text)
	case reflect.Bool:
		value := strings.ToLower(text)
		if value != "true" && value != "false" || !untyped && n.Tag != "!!bool" {
			mismatch("")
			return
		}
		v.SetBool(value == "true")
	case reflect.Int:
		number, err := strconv.Atoi(text)
		if err != nil || strconv.Itoa(number) != text || !untyped && n.Tag != "!!int" {
			mismatch("")
			return
		}
		if wrong := rule.checkNumber(number); wrong != "" {
			d.unreadable(path, d.place(n), "%s", wrong)
			return
		}
		v.SetInt(int64(number))
	default:
		panic("policy: no decoder for " + v.Type().String()) // a field of a type that the surface does not know
	}
}

// describe names what a node is, for a message.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	case n.Tag == "!!int" || n.Tag == "!!float":
		return "the number " + clip(n.Value)
	case n.Tag == "!!bool":
		return clip(n.Value)
	case n.Tag == "!!timestamp":
		return "the date " + clip(n.Value)
	}
	return strconv.Quote(clip(n.Value))
}

// clip bounds a text that is quoted in a message.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
