package policy

import (
	"net/netip"
	"slices"

	"github.com/jewgo/gateway/internal/gcra"
)

// overrides are a limit's quotas for single keys.
type overrides struct {
	exact    map[string]gcra.Quota   // by the value of a key of one part that is no address
	address  prefixTable[gcra.Quota] // by the address that a client is counted by
	combined []combined              // by the parts of a longer key, the most specific address first
	quotas   []gcra.Quota            // all of them
}

// combined is the override of a key of several parts.
type combined struct {
	parts  []string     // "" where the key has client_ip
	client netip.Prefix // valid if the key has client_ip
	quota  gcra.Quota
}

func (o *overrides) any() bool { return len(o.quotas) > 0 }

// override looks a key up; values are as in QuotaOf.
func (l *Limit) override(client netip.Addr, values []string) (gcra.Quota, bool) {
	switch {
	case !l.overrides.any():
		return gcra.Quota{}, false
	case l.byAddress(values):
		return l.overrides.address.find(client)
	case len(values) == 1:
		q, ok := l.overrides.exact[values[0]]
		return q, ok
	}
	client = plain(client)
	for i := range l.overrides.combined {
		if c := &l.overrides.combined[i]; c.matches(client, values) {
			return c.quota, true
		}
	}
	return gcra.Quota{}, false
}

// byAddress reports whether the client's address alone says which bucket it is:
// that is the key, or the key is missing.
func (l *Limit) byAddress(values []string) bool {
	if len(l.Key) == 1 && l.Key[0].Kind == SourceClientIP || len(values) != len(l.Key) {
		return true
	}
	for i, s := range l.Key {
		if s.Kind != SourceClientIP && values[i] == "" {
			return true
		}
	}
	return false
}

func (c *combined) matches(client netip.Addr, values []string) bool {
	for i, part := range c.parts {
		if part != "" && part != values[i] {
			return false
		}
	}
	return !c.client.IsValid() || c.client.Contains(client)
}

// prefixTable finds the most specific of its address blocks that holds an
// address: one look-up for each length of block in it. The zero value is empty.
type prefixTable[V any] struct {
	values       map[netip.Prefix]V
	bits4, bits6 []int // the lengths of IPv4 and IPv6 blocks, the longest first
}

// newPrefixTable makes a table of masked blocks.
func newPrefixTable[V any](values map[netip.Prefix]V) prefixTable[V] {
	t := prefixTable[V]{values: values}
	for p := range values {
		bits := &t.bits6
		if p.Addr().Is4() {
			bits = &t.bits4
		}
		if !slices.Contains(*bits, p.Bits()) {
			*bits = append(*bits, p.Bits())
		}
	}
	for _, bits := range [][]int{t.bits4, t.bits6} {
		slices.Sort(bits)
		slices.Reverse(bits)
	}
	return t
}

func (t *prefixTable[V]) find(a netip.Addr) (v V, ok bool) {
	a = plain(a)
	lengths := t.bits6
	if a.Is4() {
		lengths = t.bits4
	}
	for _, bits := range lengths {
		block, err := a.Prefix(bits)
		if err != nil {
			break
		}
		if v, ok = t.values[block]; ok {
			return v, true
		}
	}
	return v, false
}

// plain is an address as blocks are written: neither mapped nor with a zone.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
