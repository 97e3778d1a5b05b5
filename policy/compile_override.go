package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/jewgo/gateway/internal/gcra"
)

// overrides compiles a limit's overrides and fills their bursts in defs.
func (c *compiler) overrides(path string, defs []OverrideDef, l *Limit) {
	exact, blocks, first := map[string]gcra.Quota{}, map[netip.Prefix]gcra.Quota{}, map[string]int{}
	o := &l.overrides
	for i := range defs {
		def, at := &defs[i], index(join(path, "overrides"), i)
		c.rated(at)
		q := c.quota(at, def.Rate, &def.Burst)
		c.covers(at, q, l)
		key, ok := c.overrideKey(join(at, "key"), def.Key, l)
		if !ok {
			continue
		}
		id := fmt.Sprintf("%q %s", key.parts, key.client)
		if line, again := first[id]; again {
			c.invalid(join(at, "key"), "duplicate override of %q (first at line %d)", def.Key, line)
			continue
		}
		first[id] = c.at(join(at, "key")).Line
		o.quotas = append(o.quotas, q)
		switch key.quota = q; {
		case len(key.parts) == 0:
			blocks[key.client] = q
		case len(key.parts) == 1:
			exact[key.parts[0]] = q
		default:
			o.combined = append(o.combined, key)
		}
	}
	o.exact, o.address = exact, newPrefixTable(blocks)
	slices.SortStableFunc(o.combined, func(a, b combined) int { return cmp.Compare(b.client.Bits(), a.client.Bits()) })
}

// overrideKey compiles the key of an override, without parts where it is an
// address that a client is counted by; false, and why, if the limit has no such
// key.
func (c *compiler) overrideKey(path string, values StringList, l *Limit) (key combined, ok bool) {
	switch {
	case len(values) == 0:
		if c.given(path) {
			c.invalid(path, "key must not be empty")
		}
		return key, false
	case len(l.Key) == 0: // reported already
		return key, false
	case fallsBack(l) && len(values) == 1:
		var block Prefix
		if block.UnmarshalText([]byte(values[0])) == nil {
			key.client = block.Prefix
			return key, c.wide(path, key.client, l)
		}
	}
	if len(values) != len(l.Key) {
		c.invalid(path, "expected a list of %d, the parts of the limit's key, found %d", len(l.Key), len(values))
		return key, false
	}
	key.parts = make([]string, len(values))
	for i, s := range l.Key {
		at := c.item(path, i)
		if s.Kind == SourceClientIP {
			var block Prefix
			if err := block.UnmarshalText([]byte(values[i])); err != nil {
				c.invalid(at, "%v", err)
				return key, false
			}
			key.client = block.Prefix
			if !c.wide(at, key.client, l) {
				return key, false
			}
			continue
		}
		value, wrong := exactValue(s.Kind, values[i])
		if wrong != "" {
			c.invalid(at, "no request has the key %q: %s", clip(values[i]), wrong)
			return key, false
		}
		key.parts[i] = value
	}
	if len(l.Key) == 1 && key.client.IsValid() {
		key.parts = nil
	}
	return key, true
}

// fallsBack reports whether some requests are counted by address because they
// lack the key; a path value and a host are never lacking.
func fallsBack(l *Limit) bool {
	return l.Missing == MissingClientIP && slices.ContainsFunc(l.Key, func(s Source) bool {
		return s.Kind != SourceClientIP && s.Kind != SourcePath && s.Kind != SourceHost
	})
}

// wide reports whether a block holds all that is counted together with its
// addresses, as they share a bucket.
func (c *compiler) wide(path string, block netip.Prefix, l *Limit) bool {
	if block.Addr().Is6() && block.Bits() > l.IPv6Prefix {
		c.invalid(path, "%s is narrower than what is counted together: ipv6_prefix is %d", block, l.IPv6Prefix)
		return false
	}
	return true
}

// exactValue gives a part of a key as requests have it, or says why none does.
func exactValue(kind SourceKind, text string) (value, wrong string) {
	switch {
	case text == "":
		return "", "it is empty"
	case kind == SourceHost && !isHost(text):
		return "", "it is no host (a name or an address, without scheme and port)"
	case kind == SourceHost:
		return NormalHost(text), ""
	case (kind == SourceHeader || kind == SourceCookie) && (strings.TrimSpace(text) != text || strings.ContainsFunc(text, unicode.IsControl)):
		return "", "it begins or ends with a space, or holds a control character"
	}
	return text, ""
}
