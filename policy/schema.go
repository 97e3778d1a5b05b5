package policy

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/invopop/jsonschema"

	"github.com/jewgo/gateway/policy/yamlfile"
)

// variable is a value that the environment fills: any scalar may be one.
var variable = &jsonschema.Schema{Type: "string", Pattern: `\$\{`}

// forms are those of the types that read themselves from text. Some may be written
// as a number too, from least to most.
var forms = map[reflect.Type]struct{ pattern, least, most string }{
	reflect.TypeFor[Duration]():   {`^([0-9]+d|0|([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)$`, "0", "0"}, // a number has no unit; 0 needs none
	reflect.TypeFor[FileMode]():   {`^0?[0-7]{3}$`, "0", ""},
	reflect.TypeFor[Size]():       {`^[0-9]+(B|KiB|MiB|GiB)?$`, "0", ""},
	reflect.TypeFor[Rate]():       {`^[0-9]+/[0-9]*(s|min|h|day)$`, "", ""},
	reflect.TypeFor[Percent]():    {`^[0-9]+(\.[0-9]+)?%$`, "", ""},
	reflect.TypeFor[Prefix]():     {`^[0-9A-Fa-f.:]+(/[0-9]+)?$`, "", ""},
	reflect.TypeFor[Replicas]():   {`^(auto|[0-9]+)$`, "0", ""},
	reflect.TypeFor[Lease]():      {`^(auto|off|[0-9]+)$`, "0", ""},
	reflect.TypeFor[TLSVersion](): {`^1\.[23]$`, "", ""},
	reflect.TypeFor[Status]():     {`^[2-5]([0-9][0-9]|xx)$`, "200", "599"},
}

// Schema gives the JSON Schema (2020-12) of the policy file, for editors. It is
// generated from the structs: what their tags say, Parse obeys too.
func Schema() []byte {
	definitions := schemas{}
	s := definitions.object(reflect.TypeFor[Policy]())
	s.Version, s.Title, s.Definitions = jsonschema.Version, "Gateway policy", jsonschema.Definitions(definitions)
	s.Definitions["LimitDef"].OneOf = []*jsonschema.Schema{{Required: []string{"rate"}}, {Required: []string{"in_flight"}}}
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic("policy: " + err.Error()) // the surface's types are all of the schema's
	}
	return append(out, '\n')
}

// schemas are the definitions of named types.
type schemas jsonschema.Definitions

// object describes a struct.
func (d schemas) object(t reflect.Type) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema}
	defaults, fields := reflect.New(t).Elem(), yamlfile.FieldsOf(t)
	yamlfile.ApplyDefaults(defaults)
	for f := range t.Fields() {
		name := f.Tag.Get("yaml")
		property := d.value(f.Type, fields[name])
		property.Description = f.Tag.Get("jsonschema_description")
		if f.Tag.Get("check") != "positive" || f.Tag.Get("default") != "" { // else zero cannot be written
			property.Default = defaultText(defaults.FieldByIndex(f.Index))
		}
		s.Properties.Set(name, property)
		if fields[name].Required {
			s.Required = append(s.Required, name)
		}
	}
	return s
}

// value describes a value of a type, and refers to the definitions of named types.
func (d schemas) value(t reflect.Type, rule yamlfile.Field) *jsonschema.Schema {
	switch {
	case t.Kind() == reflect.Pointer:
		return d.value(t.Elem(), rule)
	case t.PkgPath() != "" && t != reflect.TypeFor[Secret]():
		if d[t.Name()] == nil {
			d[t.Name()] = d.definition(t)
		}
		return &jsonschema.Schema{Ref: "#/$defs/" + t.Name()}
	case t.Kind() == reflect.Map:
		return &jsonschema.Schema{Type: "object", AdditionalProperties: d.value(t.Elem(), rule)}
	case t.Kind() == reflect.Slice:
		list := &jsonschema.Schema{Type: "array", Items: d.value(t.Elem(), yamlfile.Field{})}
		if least := uint64(rule.MinItems); least > 0 {
			list.MinItems = &least
		}
		if t.Elem().Kind() == reflect.Struct && !yamlfile.ReadsItself(t.Elem()) {
			return list
		}
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{list.Items, list}}
	case t.Kind() == reflect.String && len(rule.Enum) == 0:
		return &jsonschema.Schema{Type: "string"}
	}
	kinds := map[reflect.Kind]string{reflect.String: "string", reflect.Int: "integer", reflect.Bool: "boolean"}
	scalar := &jsonschema.Schema{Type: kinds[t.Kind()], Minimum: number(rule.Min), Maximum: number(rule.Max)}
	for _, word := range rule.Enum {
		scalar.Enum = append(scalar.Enum, word)
		if t.Kind() == reflect.Int {
			scalar.Enum[len(scalar.Enum)-1] = json.Number(word)
		}
	}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{scalar, variable}}
}

// definition describes a named type.
func (d schemas) definition(t reflect.Type) *jsonschema.Schema {
	form, ok := forms[t]
	switch {
	case t == reflect.TypeFor[Costs](): // a number, or numbers by method
		least := 1
		one := d.value(reflect.TypeFor[int](), yamlfile.Field{Min: &least})
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{one.AnyOf[0], variable, {Type: "object", AdditionalProperties: one}}}
	case t.Kind() == reflect.Slice:
		return d.value(reflect.SliceOf(t.Elem()), yamlfile.Field{})
	case !ok:
		return d.object(t)
	}
	s := &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string", Pattern: form.pattern}, variable}}
	if t == reflect.TypeFor[TLSVersion]() {
		s.AnyOf = append(s.AnyOf, &jsonschema.Schema{Type: "number", Enum: []any{1.2, 1.3}})
	}
	if form.least != "" {
		s.AnyOf = append(s.AnyOf, &jsonschema.Schema{Type: "integer", Minimum: json.Number(form.least), Maximum: json.Number(form.most)})
	}
	return s
}

func number(n *int) json.Number {
	if n == nil {
		return ""
	}
	return json.Number(fmt.Sprint(*n))
}

// defaultText gives a default as it would be written, nil for none.
func defaultText(v reflect.Value) any {
	if v.Kind() == reflect.String && v.IsZero() {
		return nil
	}
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok && v.Kind() != reflect.Struct {
		text, _ := m.MarshalText() // values that are no structs can always be written
		return string(text)
	}
	if v.IsZero() || v.Kind() == reflect.Struct {
		return nil // the keys of a struct have defaults of their own
	}
	return v.Interface()
}
