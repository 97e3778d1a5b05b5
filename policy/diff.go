package policy

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Change is one difference between two policies.
type Change struct {
	Key string `json:"key"`           // as in limits.login.rate, or routes.list.cache.ttl
	Old string `json:"old,omitempty"` // "": unset
	New string `json:"new,omitempty"` // likewise
}

// Diff returns what differs between two policies with their defaults, sorted by key. Routes are
// compared by their names, without regard to order. Secrets are hidden.
func Diff(older, newer *Policy) (changes []Change) {
	before, after := settings{}, settings{}
	before.add("", reflect.ValueOf(*older))
	after.add("", reflect.ValueOf(*newer))
	for key, old := range before {
		if now := after[key]; now != old {
			changes = append(changes, Change{key, old.shown, now.shown})
		}
	}
	for key, now := range after {
		if _, known := before[key]; !known {
			changes = append(changes, Change{key, "", now.shown})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.Key, b.Key) })
	return changes
}

// settings are the values of a policy that are set, by their keys.
type settings map[string]setting

type setting struct{ value, shown string }

// add adds a value and all that it holds.
func (s settings) add(key string, v reflect.Value) {
	if v.IsZero() {
		return
	}
	if text, ok := textOf(v); ok {
		s[key] = setting{fmt.Sprint(v.Interface()), text}
		if secret, ok := reflect.TypeAssert[Secret](v); ok {
			s[key] = setting{secret.Reveal(), text}
		}
		return
	}
	under := func(name string) string { return strings.Trim(key+"."+name, ".") } // a number of Costs has no name
	switch v.Kind() {
	case reflect.Pointer:
		s.add(key, v.Elem())
	case reflect.Struct:
		for f, value := range v.Fields() {
			if route, ok := reflect.TypeAssert[[]RouteDef](value); ok {
				for _, r := range route {
					s.add("routes."+r.Name, reflect.ValueOf(r))
				}
				continue
			}
			s.add(under(f.Tag.Get("yaml")), value)
		}
		if limit, ok := reflect.TypeAssert[LimitDef](v); ok {
			s.hideKeys(key, &limit)
		}
		if match, ok := reflect.TypeAssert[MatchDef](v); ok {
			for name, value := range match.Header { // which may be a secret of a proxy in front
				s[under("header."+name)] = setting{value, Secret(value).String()}
			}
		}
	case reflect.Map:
		for name, value := range v.Seq2() {
			s.add(under(fmt.Sprint(name)), value)
		}
	default: // a list of structs
		for i := range v.Len() {
			s.add(fmt.Sprintf("%s[%d]", key, i), v.Index(i))
		}
	}
}

// hideKeys hides the keys of a limit's overrides, if they may be API keys or tokens.
func (s settings) hideKeys(key string, limit *LimitDef) {
	if !slices.ContainsFunc(limit.Key, func(text string) bool {
		return strings.HasPrefix(text, "header:") || strings.HasPrefix(text, "cookie:")
	}) {
		return
	}
	for i := range limit.Overrides {
		at := fmt.Sprintf("%s.overrides[%d].key", key, i)
		if was, ok := s[at]; ok {
			s[at] = setting{was.value, Secret(was.value).String()}
		}
	}
}

// textOf writes a scalar, or a list of scalars, as the file would have it.
func textOf(v reflect.Value) (string, bool) {
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		text, err := m.MarshalText()
		return string(text), err == nil
	}
	switch v.Kind() {
	case reflect.String, reflect.Int, reflect.Bool, reflect.Float64:
		return fmt.Sprint(v.Interface()), true
	case reflect.Slice:
		var texts []string
		for i := range v.Len() {
			text, ok := textOf(v.Index(i))
			if !ok {
				return "", false
			}
			texts = append(texts, text)
		}
		return "[" + strings.Join(texts, ", ") + "]", true
	}
	return "", false
}
