package rfc9111

import (
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// ResponseControl returns the directives that apply to a response for a cache with the given target
// list (RFC 9213, 2.2). The first field on the list that is present, valid and not empty overrides
// Cache-Control and Expires; without one, Cache-Control applies. A cache with an empty list, such
// as one that is not a CDN's, ignores all targeted fields. Surrogate-Control may be on the list
// too, although it has the syntax of Cache-Control.
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

// ParseTargeted reads the lines of a targeted field (RFC 9213, 2.1), a Dictionary. It returns false
// if the field is empty, not a Dictionary, or gives a known directive a value of the wrong type:
// the whole field is then ignored. Parameters and unknown members are ignored. If a member occurs
// twice, the last one counts (RFC 9651, 3.2).
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
			item.Value = nil // a list: no directive takes one
		}
		if !cc.addItem(name, item.Value) {
			return CacheControl{}, false
		}
	}
	return cc, true
}

// addItem adds one directive and reports whether its value has the correct type.
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

// surrogateControl reads Surrogate-Control (Edge Architecture 1.0, 2.3): max-age may add the time
// for which stale is allowed, as in 600+60.
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

// says reports whether any directive for responses is present.
func (cc *CacheControl) says() bool {
	return cc.NoStore || cc.NoCache || cc.Private || cc.Public || cc.MustRevalidate || cc.ProxyRevalidate || cc.MustUnderstand ||
		cc.MaxAge.Set || cc.SMaxAge.Set || cc.StaleWhileRevalidate.Set || cc.StaleIfErr.Set ||
		len(cc.NoCacheFields) > 0 || len(cc.PrivateFields) > 0
}

// maxGroups bounds the groups read from one field; RFC 9875, 2 requires at least 32.
const maxGroups = 64

// Groups returns the members of Cache-Groups or Cache-Group-Invalidation (RFC 9875, 2 and 3), a
// List of Strings. A malformed field counts as absent.
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
