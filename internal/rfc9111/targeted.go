package rfc9111

import (
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// ResponseControl returns the directives that govern a response for a cache
// with the given target list (RFC 9213, 2.2): those of the first field on the
// list that is there, valid and not empty, and then neither Cache-Control nor
// Expires counts; else those of Cache-Control. A cache with an empty list, such
// as one that is no CDN, ignores all targeted fields. Surrogate-Control may be
// on the list too, though its syntax is that of Cache-Control.
func ResponseControl(h http.Header, targets []string) CacheControl {
	for _, name := range targets {
		lines := h[name]
		if len(lines) == 0 {
			continue
		}
		if name == "Surrogate-Control" {
			if cc := surrogateControl(lines); cc.says() {
				return cc
			}
			continue
		}
		if cc, ok := ParseTargeted(lines); ok {
			return cc
		}
	}
	return ParseCacheControl(h["Cache-Control"])
}

// ParseTargeted reads the lines of a targeted field (RFC 9213, 2.1), which is a
// Dictionary. It reports false if the field is empty, is no Dictionary, or gives
// a directive that this package knows a value of the wrong type: the field is
// then to be ignored as a whole. Parameters and unknown members are ignored. Of
// a member that occurs twice the last counts (RFC 9651, 3.2).
func ParseTargeted(lines []string) (cc CacheControl, ok bool) {
	dict, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil || len(dict.Names()) == 0 {
		return CacheControl{}, false
	}
	cc.Targeted = true
	for _, name := range dict.Names() {
		member, _ := dict.Get(name)
		item, isItem := member.(httpsfv.Item)
		if !isItem {
			item.Value = nil // a list: no directive has one
		}
		if !cc.addItem(name, item.Value) {
			return CacheControl{}, false
		}
	}
	return cc, true
}

// addItem adds one directive and reports whether its value has the right type.
func (cc *CacheControl) addItem(name string, value any) bool {
	if d := cc.delta(name); d != nil {
		n, ok := value.(int64)
		if ok {
			*d = Delta{true, time.Duration(min(max(n, 0), int64(maxDelta/time.Second))) * time.Second}
		}
		return ok
	}
	flag := cc.flag(name)
	if flag == nil {
		return true // unknown
	}
	if text, ok := value.(string); ok {
		fields := cc.fields(name)
		if fields != nil {
			*flag = addFields(*flag, fields, text, true)
		}
		return fields != nil
	}
	set, ok := value.(bool)
	*flag = *flag || set
	return ok
}

// surrogateControl reads Surrogate-Control (Edge Architecture 1.0, 2.3): max-age
// may have the time after it for which stale is allowed, as in 600+60.
func surrogateControl(lines []string) CacheControl {
	cc := CacheControl{Targeted: true}
	for _, line := range lines {
		for line != "" {
			var name, value string
			var hasValue bool
			name, value, hasValue, line = nextDirective(line)
			if fresh, extra, ok := strings.Cut(value, "+"); ok && strings.EqualFold(name, "max-age") {
				cc.StaleWhileRevalidate.set(extra)
				value = fresh
			}
			cc.add(name, value, hasValue)
		}
	}
	return cc
}

// says reports whether there is any directive for responses.
func (cc *CacheControl) says() bool {
	return cc.NoStore || cc.NoCache || cc.Private || cc.Public || cc.MustRevalidate || cc.ProxyRevalidate || cc.MustUnderstand ||
		cc.MaxAge.Set || cc.SMaxAge.Set || cc.StaleWhileRevalidate.Set || cc.StaleIfErr.Set ||
		len(cc.NoCacheFields) > 0 || len(cc.PrivateFields) > 0
}

// maxGroups bounds the groups that are read from one field; RFC 9875, 2 asks for
// at least 32.
const maxGroups = 64

// Groups returns the members of Cache-Groups or Cache-Group-Invalidation (RFC
// 9875, 2 and 3), a List of Strings. A field that is none counts as absent.
func Groups(lines []string) (groups []string) {
	if len(lines) == 0 {
		return nil
	}
	list, err := httpsfv.UnmarshalList(lines)
	if err != nil {
		return nil
	}
	for _, member := range list[:min(len(list), maxGroups)] {
		item, _ := member.(httpsfv.Item)
		name, ok := item.Value.(string)
		if !ok {
			return nil
		}
		groups = append(groups, name)
	}
	return groups
}

func canonical(name string) string { return textproto.CanonicalMIMEHeaderKey(name) }
