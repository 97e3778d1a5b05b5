package cache

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/policy"
)

// keyed is what the key of a request holds beyond its Exchange.
type keyed struct {
	query   string             // as it is sent
	rule    rfc9111.SearchRule // by which queries are compared
	content string             // of a QUERY; see queryContent
}

// key identifies the resource of a request: a hash of length-prefixed parts, so
// that no crafted request makes two of them look alike. The fields that the
// policy names as selecting are part of it, so that in the ordinary case one
// look-up finds the variant. So is the rule by which queries are compared: what
// is found under it was stored under the same. HEAD shares the key of GET.
func key(ex *exchange.Exchange, k keyed) string {
	v, rule := &ex.View, ex.Route.Cache
	var buf [512]byte
	b := part(buf[:0], ex.Route.Name)
	b = part(b, v.Authority) // the upstream sees the port too, and may make links of it
	b = part(b, v.Path)
	b = part(b, k.rule.Apply(k.query))
	b = part(b, k.rule.Text())
	b = part(b, k.content)
	b = part(b, strconv.FormatBool(v.TLS))
	for _, name := range rule.Vary { // named, since another policy may have others
		b = part(part(b, name), rfc9111.Selecting(name, (*sent)(ex).Values(name)))
	}
	for _, s := range rule.Key {
		b = part(append(b, 0, byte(s.Kind)), s.Name) // 0 is no name's length
		b = partsOf(b, ex, s)
	}
	if rule.Strict && (*sent)(ex).ambiguous() {
		b = part(append(b, 0, 0xff), (*sent)(ex).cookies()) // the upstream may read other cookies in this
	}
	sum := sha256.Sum256(b)
	return string(base64.RawURLEncoding.AppendEncode(buf[:0], sum[:]))
}

// part appends s with its length before it.
func part(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// partsOf appends the values of one source with their number before them. Of a
// cookie that comes twice all count, since the upstream may read either.
func partsOf(b []byte, ex *exchange.Exchange, s policy.Source) []byte {
	var values []string
	switch s.Kind {
	case policy.SourceClientIP:
		values = []string{ex.View.Client.String()}
	case policy.SourceSession:
		values = []string{ex.Principal.SessionID}
	case policy.SourceSessionUser:
		values = []string{ex.Principal.User}
	case policy.SourceHeader:
		values = ex.View.Header.Values(s.Name)
	case policy.SourcePath:
		values = []string{ex.Params.Get(s.Name)}
	case policy.SourceHost:
		values = []string{ex.View.Host}
	case policy.SourceCookie:
		values = slices.Collect(policy.CookieValues(ex.View.Header, s.Name))
	}
	b = binary.AppendUvarint(b, uint64(len(values)))
	for _, value := range values {
		b = part(b, value)
	}
	return b
}
