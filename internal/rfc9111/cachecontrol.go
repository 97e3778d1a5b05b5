package rfc9111

import (
	"strings"
	"time"
)

// Delta is a directive's delta-seconds (RFC 9111, 1.2.2).
type Delta struct {
	Set   bool          // the directive is present
	Value time.Duration // 0 if its value is not a number
}

// maxDelta caps larger numbers: 2^31 seconds (RFC 9111, 1.2.2).
const maxDelta = 1 << 31 * time.Second

// CacheControl holds the known directives of a Cache-Control field, for requests and responses (RFC
// 9111, 5.2; RFC 5861).
type CacheControl struct {
	NoStore, NoCache, OnlyIfCached   bool
	Public, Private, MustUnderstand  bool
	MustRevalidate, ProxyRevalidate  bool
	NoTransform                      bool
	NoCacheFields, PrivateFields     []string // canonical; the directive then applies to these fields only
	MaxAge, SMaxAge                  Delta
	MinFresh, MaxStale               Delta // max-stale without a number: maxDelta
	StaleWhileRevalidate, StaleIfErr Delta

	Targeted bool // from a field for this kind of cache: Expires is then ignored (RFC 9213, 2.2)
}

// ParseCacheControl reads the lines of a Cache-Control field (RFC 9111, 5.2). It never fails: it
// skips unknown directives. Invalid numbers count as 0 (4.2.1), so that a mistake makes a response
// stale and not immortal. If a directive occurs twice, the first number counts.
func ParseCacheControl(lines []string) (cc CacheControl) {
	for _, line := range lines {
		for line != "" {
			var name, value string
			var hasValue bool
			name, value, hasValue, line = nextDirective(line)
			cc.add(name, value, hasValue)
		}
	}
	return cc
}

func (cc *CacheControl) add(name, value string, hasValue bool) {
	name = strings.ToLower(name)
	flag, delta := cc.flag(name), cc.delta(name)
	switch {
	case name == "max-stale" && !hasValue:
		if !delta.Set {
			*delta = Delta{true, maxDelta}
		}
	case delta != nil:
		delta.set(value)
	case flag == nil:
	case cc.fields(name) != nil:
		*flag = addFields(*flag, cc.fields(name), value, hasValue)
	default:
		*flag = true
	}
}

// flag returns the field for a directive without a number, or nil if the directive is unknown or
// has a number.
func (cc *CacheControl) flag(name string) *bool {
	switch name {
	case "no-store":
		return &cc.NoStore
	case "no-cache":
		return &cc.NoCache
	case "private":
		return &cc.Private
	case "public":
		return &cc.Public
	case "no-transform":
		return &cc.NoTransform
	case "must-revalidate":
		return &cc.MustRevalidate
	case "proxy-revalidate":
		return &cc.ProxyRevalidate
	case "must-understand":
		return &cc.MustUnderstand
	case "only-if-cached":
		return &cc.OnlyIfCached
	}
	return nil
}

// fields returns the list of the field names that a directive may have, or nil if it has none.
func (cc *CacheControl) fields(name string) *[]string {
	switch name {
	case "no-cache":
		return &cc.NoCacheFields
	case "private":
		return &cc.PrivateFields
	}
	return nil
}

// delta returns the field for a directive with a number, or nil if the directive is unknown or has
// none.
func (cc *CacheControl) delta(name string) *Delta {
	switch name {
	case "max-age":
		return &cc.MaxAge
	case "s-maxage":
		return &cc.SMaxAge
	case "min-fresh":
		return &cc.MinFresh
	case "max-stale":
		return &cc.MaxStale
	case "stale-while-revalidate":
		return &cc.StaleWhileRevalidate
	case "stale-if-error":
		return &cc.StaleIfErr
	}
	return nil
}

// addFields adds the field names of a no-cache or private directive. Without names the directive
// covers the whole response and overrides any with names (RFC 9111, 5.2.2.4, 5.2.2.7). It returns
// whether the whole response is covered.
func addFields(whole bool, fields *[]string, value string, hasValue bool) bool {
	if !hasValue {
		return true
	}
	named := false
	for f := range strings.SplitSeq(value, ",") {
		if f = trim(f); f != "" {
			*fields = append(*fields, canonical(f))
			named = true
		}
	}
	return whole || !named
}

func (d *Delta) set(value string) {
	if d.Set {
		return
	}
	d.Set = true
	d.Value = parseDelta(value)
}

// parseDelta reads delta-seconds (RFC 9111, 1.2.2). Invalid numbers count as 0.
func parseDelta(s string) time.Duration {
	var n time.Duration
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0
		}
		n = min(n*10+time.Duration(s[i]-'0'), maxDelta/time.Second)
	}
	return n * time.Second
}

// nextDirective cuts the first directive off a list. A comma within a quoted string does not
// separate. An unclosed quote is an ordinary character, since it would hide what follows, perhaps a
// no-store.
func nextDirective(s string) (name, value string, hasValue bool, rest string) {
	end := strings.IndexByte(s, ',')
	eq := strings.IndexByte(s, '=')
	if eq < 0 || end >= 0 && end < eq {
		item, rest, _ := strings.Cut(s, ",")
		return trim(item), "", false, rest
	}
	name = trim(s[:eq])
	value = strings.TrimLeft(s[eq+1:], " \t")
	if text, rest, ok := quoted(value); ok {
		junk, rest, _ := strings.Cut(rest, ",")
		return name, text + trim(junk), true, rest
	}
	value, rest, _ = strings.Cut(value, ",")
	return name, trim(value), true, rest
}

// quoted reads a quoted-string at the start of s (RFC 9110, 5.6.4).
func quoted(s string) (text, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return "", s, false
	}
	escaped := false
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			text = s[1:i]
			if escaped {
				text = unescape(text)
			}
			return text, s[i+1:], true
		}
	}
	return "", s, false
}

func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// trim removes optional whitespace (RFC 9110, 5.6.3).
func trim(s string) string { return strings.Trim(s, " \t") }
