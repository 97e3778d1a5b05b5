package policy

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"

	"github.com/invopop/jsonschema"
)

// variable is a value that the environment fills: any scalar may be one.
const variable = `\$\{`

// scalarPatterns are the forms of the types that read themselves from text.
var scalarPatterns = map[reflect.Type]string{
	reflect.TypeFor[Duration](): `^([0-9]+d|0|([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)$`,
	reflect.TypeFor[FileMode](): `^0?[0-7]{3}$`,
	reflect.TypeFor[Size]():     `^[0-9]+(B|KiB|MiB|GiB)?$`,
	reflect.TypeFor[Rate]():     `^[0-9]+/[0-9]*(s|min|h|day)$`,
	reflect.TypeFor[Percent]():  `^[0-9]+(\.[0-9]+)?%$`,
	reflect.TypeFor[Prefix]():   `^[0-9A-Fa-f.:]+(/[0-9]+)?$`,
	reflect.TypeFor[Replicas](): `^(auto|[0-9]+)$`,
	reflect.TypeFor[Status]():   `^[2-5]([0-9][0-9]|xx)$`,
}

// Schema gives the JSON Schema (2020-12) of the policy file, for editors. It is
// generated from the structs: what their tags say, Parse obeys too.
func Schema() []byte {
	r := &jsonschema.Reflector{
		Anonymous:                  true,
		ExpandedStruct:             true,
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		Mapper:                     scalarReference,
	}
	s := r.Reflect(&Policy{})
	s.Title = "Gateway policy"
	for t := range scalarPatterns {
		s.Definitions[t.Name()] = scalarDefinition(t)
	}
	text := &jsonschema.Schema{Type: "string"}
	s.Definitions[stringListType.Name()] = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text, {Type: "array", Items: text}}}
	s.Definitions[costsType.Name()] = costsDefinition()
	limit := s.Definitions[reflect.TypeFor[LimitDef]().Name()]
	limit.OneOf = []*jsonschema.Schema{{Required: []string{"rate"}}, {Required: []string{"in_flight"}}}
	refine(s, reflect.TypeFor[Policy](), s.Definitions)
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic("policy: " + err.Error()) // the surface's types are all of the schema's
	}
	return append(out, '\n')
}

// scalarReference refers to the definition of a type that may be written as
// a scalar although it is none in Go; nil for other types.
func scalarReference(t reflect.Type) *jsonschema.Schema {
	if t != stringListType && t != costsType && scalarPatterns[t] == "" {
		return nil
	}
	return &jsonschema.Schema{Ref: "#/$defs/" + t.Name()}
}

// costsDefinition is a number, or numbers by method.
func costsDefinition() *jsonschema.Schema {
	one := &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "integer", Minimum: "1"}, {Type: "string", Pattern: variable}}}
	return &jsonschema.Schema{AnyOf: append(slices.Clone(one.AnyOf), &jsonschema.Schema{Type: "object", AdditionalProperties: one})}
}

// scalarDefinition is what scalarReference refers to.
func scalarDefinition(t reflect.Type) *jsonschema.Schema {
	s := &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string", Pattern: scalarPatterns[t]}, {Type: "string", Pattern: variable}}}
	number := &jsonschema.Schema{Type: "integer", Minimum: "0"}
	switch t {
	case reflect.TypeFor[Size](), reflect.TypeFor[Replicas](), reflect.TypeFor[FileMode]():
		s.AnyOf = append(s.AnyOf, number)
	case reflect.TypeFor[Status]():
		number.Minimum, number.Maximum = "200", "599"
		s.AnyOf = append(s.AnyOf, number)
	case reflect.TypeFor[Duration](): // a bare number has no unit; 0 needs none
		number.Maximum = "0"
		s.AnyOf = append(s.AnyOf, number)
	}
	return s
}

// refine lets a variable stand for every scalar of t's schema, and adds the
// defaults, here and in the structs below.
func refine(s *jsonschema.Schema, t reflect.Type, definitions jsonschema.Definitions) {
	defaults := reflect.New(t).Elem()
	applyDefaults(defaults)
	for name, f := range fieldsOf(t) {
		property, _ := s.Properties.Get(name)
		allowOne(property)
		allowVariable(property)
		if property.AdditionalProperties != nil {
			allowVariable(property.AdditionalProperties)
		}
		if text := defaultText(defaults.Field(f.index)); text != nil {
			property.Default = text
		}
		below := t.Field(f.index).Type
		for below.Kind() == reflect.Pointer || below.Kind() == reflect.Slice || below.Kind() == reflect.Map {
			below = below.Elem()
		}
		if d := definitions[below.Name()]; d != nil && d.Properties != nil {
			refine(d, below, definitions)
		}
	}
}

// allowOne lets one scalar stand for a list of them.
func allowOne(s *jsonschema.Schema) {
	if s.Type != "array" || s.Items == nil || s.Items.Type == "" && !isScalarReference(s.Items.Ref) {
		return
	}
	list := &jsonschema.Schema{Type: s.Type, Items: s.Items, MinItems: s.MinItems}
	s.Type, s.Items, s.MinItems = "", nil, nil
	s.AnyOf = []*jsonschema.Schema{list.Items, list}
}

func isScalarReference(ref string) bool {
	for t := range scalarPatterns {
		if ref == "#/$defs/"+t.Name() {
			return true
		}
	}
	return false
}

// allowVariable turns a schema of a scalar that no variable satisfies into a
// choice.
func allowVariable(s *jsonschema.Schema) {
	if s.Type != "integer" && s.Type != "boolean" && (s.Type != "string" || len(s.Enum) == 0) {
		return
	}
	scalar := &jsonschema.Schema{Type: s.Type, Enum: s.Enum, Minimum: s.Minimum, Maximum: s.Maximum}
	s.Type, s.Enum, s.Minimum, s.Maximum = "", nil, "", ""
	s.AnyOf = []*jsonschema.Schema{scalar, {Type: "string", Pattern: variable}}
}

// defaultText gives a default as it would be written, nil for none.
func defaultText(v reflect.Value) any {
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		text, err := m.MarshalText()
		if err != nil || v.Kind() == reflect.Struct {
			return nil
		}
		return string(text)
	}
	if v.IsZero() {
		return nil
	}
	switch v.Kind() {
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return nil // their keys have defaults of their own
	}
	return v.Interface()
}
