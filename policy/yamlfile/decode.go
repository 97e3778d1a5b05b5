package yamlfile

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	// maxValues bounds the values of a file after its aliases are expanded. It refuses alias bombs;
	// real files have a few thousand values.
	maxValues = 20_000
	// maxItems bounds lists and mappings, since callers compare items with each other.
	maxItems = 1000
	// maxMerge bounds how deeply merge keys nest. It also stops a mapping that merges itself.
	maxMerge = 8
)

// Uniform is a mapping that may be written as a single number, which then applies to all keys.
type Uniform interface{ SetAll(number int) }

// decoder turns a YAML tree into structs, strictly, and notes in the document where everything is. It
// follows the types, so their depth bounds its recursion, however deeply the file nests.
type decoder struct {
	*Document
	Options
	root   reflect.Type
	below  map[reflect.Type]map[string][]string
	values int
}

// value decodes n into v, whose path is path, and checks it against rule.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string, rule Field) {
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
		d.unreadable(path, n, "tags such as %s are not supported", Clip(n.Tag))
	case ReadsItself(t):
		d.scalar(n, v, path, rule)
	case t.Kind() == reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		ApplyDefaults(v.Elem())
		d.structure(n, v.Elem(), path)
	case t.Kind() == reflect.Struct:
		d.structure(n, v, path)
	case t.Kind() == reflect.Map:
		if all, ok := reflect.TypeAssert[Uniform](v.Addr()); ok && n.Kind == yaml.ScalarNode {
			number := reflect.New(reflect.TypeFor[int]()).Elem()
			if d.scalar(n, number, path, rule); !number.IsZero() {
				all.SetAll(int(number.Int()))
			}
			return
		}
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
		d.unreadable("", n, "aliases expand this file to more than %d values", maxValues)
	}
	return d.values < maxValues
}

func (d *decoder) place(n *yaml.Node) Position { return Position{d.file, n.Line, n.Column} }

// unreadable reports a value that could not be read.
func (d *decoder) unreadable(path string, n *yaml.Node, format string, args ...any) {
	d.bad = append(d.bad, path)
	d.report(d.place(n), format, args...)
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) {
	fields, seen := FieldsOf(v.Type()), map[string]bool{}
	pairs, ok := d.pairs(n, path)
	if !ok {
		return
	}
	for _, p := range pairs {
		name := p.key.Value
		f, ok := fields[name]
		if !ok {
			d.typos[path] = true
			d.report(d.place(p.key), "unknown key %q%s", name, cmp.Or(Suggest(name, keys(fields)), d.rightPlace(name, v.Type())))
			continue
		}
		seen[name] = true
		d.value(p.value, v.Field(f.Index), join(path, name), f)
	}
	for name, f := range fields {
		if f.Required && !seen[name] {
			d.Missing(path, "missing key %q", name)
		}
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string, rule Field) {
	pairs, ok := d.pairs(n, path)
	if !ok {
		return
	}
	if len(pairs) > maxItems {
		d.unreadable(path, n, "too many keys: %d, at most %d", len(pairs), maxItems)
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, p := range pairs {
		elem := reflect.New(v.Type().Elem()).Elem()
		ApplyDefaults(elem)
		d.value(p.value, elem, join(path, p.key.Value), Field{Min: rule.Min, Max: rule.Max})
		v.SetMapIndex(reflect.ValueOf(p.key.Value), elem)
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string, rule Field) {
	if n.Kind != yaml.SequenceNode {
		d.unreadable(path, n, "expected a list, found %s", describe(n))
		return
	}
	if len(n.Content) > maxItems {
		d.unreadable(path, n, "too many items: %d, at most %d", len(n.Content), maxItems)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, len(n.Content)))
	for _, item := range n.Content {
		at := index(path, v.Len())
		elem := reflect.New(v.Type().Elem()).Elem()
		ApplyDefaults(elem)
		delete(d.empty, at)
		d.value(item, elem, at, Field{Enum: rule.Enum, check: rule.check})
		if !d.empty[at] { // an item whose variable is empty is left out
			v.Set(reflect.Append(v, elem))
		}
	}
	d.atLeast(n, v.Len(), path, rule)
}

// atLeast reports a list with too few items.
func (d *decoder) atLeast(n *yaml.Node, items int, path string, rule Field) {
	if items < rule.MinItems {
		d.unreadable(path, n, "too few items: %d, at least %d", items, rule.MinItems)
	}
}

// listOfOne decodes a scalar into a list of scalars.
func (d *decoder) listOfOne(n *yaml.Node, v reflect.Value, path string, rule Field) {
	one := reflect.MakeSlice(v.Type(), 1, 1)
	d.scalar(n, one.Index(0), path, Field{Enum: rule.Enum, check: rule.check})
	if d.empty[path] {
		d.atLeast(n, 0, path, rule)
		return
	}
	v.Set(one)
}

// scalar decodes a string, a bool, an int, or a type that reads itself from text. If the value cannot
// be read, or its variable is empty, the default stays. The content of a variable has no YAML type, so
// it may be of any type that is expected.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string, rule Field) {
	want, hint := map[reflect.Kind]string{reflect.String: "a string", reflect.Bool: "true or false", reflect.Int: "a whole number"}[v.Kind()], ""
	self := ReadsItself(v.Type())
	switch {
	case self:
		want = "a value"
	case v.Kind() == reflect.String && len(rule.Enum) > 0:
		want = OneOf(rule.Enum)
	case v.Kind() == reflect.String:
		hint = " (quote it)"
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.unreadable(path, n, "expected %s, found %s", want, describe(n))
		return
	}
	text, untyped, err := expand(n.Value, d.Getenv)
	if err == nil && untyped && text == "" {
		d.empty[path] = true
		return
	}
	value := reflect.New(v.Type()).Elem()
	value.Set(v)
	typed := self || untyped || n.Tag == map[reflect.Kind]string{reflect.String: "!!str", reflect.Bool: "!!bool", reflect.Int: "!!int"}[v.Kind()]
	if err == nil && typed {
		err = setText(value, text)
	}
	switch wrong := rule.problem(value); {
	case !typed && err == nil, errors.Is(err, errForm):
		d.unreadable(path, n, "expected %s, found %s%s", want, describe(n), hint)
	case err != nil:
		d.unreadable(path, n, "%v", err)
	case wrong != "":
		d.unreadable(path, n, "%s", wrong)
	default:
		v.Set(value)
		d.check(v, path, rule)
	}
}

// check runs the caller's check on a value that could be read.
func (d *decoder) check(v reflect.Value, path string, rule Field) {
	name, optional := strings.CutSuffix(rule.check, ",optional")
	if name == "" || optional && v.IsZero() {
		return
	}
	key := path[strings.LastIndexByte(path, '.')+1:]
	if wrong := d.Checks[name](key, fmt.Sprint(v)); wrong != "" {
		d.Invalid(path, "%s", wrong)
	}
}

type pair struct{ key, value *yaml.Node }

// pairs returns a mapping's keys and values: its own in order, then those of its merge key (<<) that
// it does not have itself. Duplicate keys and keys that are not plain names are reported and left out.
func (d *decoder) pairs(n *yaml.Node, path string) (list []pair, ok bool) {
	if n.Kind != yaml.MappingNode {
		d.unreadable(path, n, "expected a mapping, found %s", describe(n))
		return nil, false
	}
	return d.collect(nil, map[string]*yaml.Node{}, n, path, 0), true
}

// collect appends the pairs of a mapping and of the mappings that it merges, unless their keys are in
// seen. depth is 0 for the mapping itself.
func (d *decoder) collect(list []pair, seen map[string]*yaml.Node, n *yaml.Node, path string, depth int) []pair {
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch first := seen[key.Value]; {
		case key.Kind == yaml.ScalarNode && key.Tag == "!!merge":
			merges = append(merges, value)
		case depth > 0 && (key.Kind != yaml.ScalarNode || first != nil || !d.spend(key)): // the nearer one wins
		case depth == 0 && (key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0):
			d.report(d.place(key), "a key must be a plain name")
		case first != nil:
			d.report(d.place(key), "duplicate key %q (first at line %d)", key.Value, first.Line)
		default:
			seen[key.Value] = key
			list = append(list, pair{key, value})
		}
	}
	for _, m := range merges {
		list = d.merge(list, seen, m, path, depth+1)
	}
	return list
}

// merge appends the pairs of a merge key's value, a mapping or a list of mappings, unless their keys
// are in seen.
func (d *decoder) merge(list []pair, seen map[string]*yaml.Node, n *yaml.Node, path string, depth int) []pair {
	if !d.spend(n) {
		return list
	}
	named := n
	if n.Kind == yaml.AliasNode {
		named = n.Alias
	}
	switch {
	case depth > maxMerge:
		d.unreadable(path, n, "merge keys nest more than %d deep", maxMerge)
	case named.Kind == yaml.SequenceNode:
		for _, item := range named.Content {
			list = d.merge(list, seen, item, path, depth+1)
		}
	case named.Kind != yaml.MappingNode:
		d.unreadable(path, n, "a merge key takes a mapping or a list of mappings, found %s", describe(named))
	default:
		list = d.collect(list, seen, named, path, depth)
	}
	return list
}

// describe describes a node for a message.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	case n.Tag == "!!int" || n.Tag == "!!float":
		return "the number " + Clip(n.Value)
	case n.Tag == "!!bool":
		return Clip(n.Value)
	case n.Tag == "!!timestamp":
		return "the date " + Clip(n.Value)
	}
	return strconv.Quote(Clip(n.Value))
}
