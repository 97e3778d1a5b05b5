package cache

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"slices"
	"strconv"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
	"github.com/jewgo/gateway/policy"
)

// keyed is what the key of a request contains beyond its Exchange.
type keyed struct {
	query   string             // as sent upstream
	rule    rfc9111.SearchRule // how queries are compared
	content string             // of a QUERY; see queryContent
}

// key identifies the resource of a request: a hash of length-prefixed parts, so that no crafted
// request can imitate another. It contains the fields that the policy's vary names, so that usually
// one look-up finds the variant, and the rule by which queries are compared, so that a look-up only
// finds what the same rule stored. HEAD shares the key of GET.
func key(ex *exchange.Exchange, k keyed) string {
	v, rule := &ex.View, ex.Route.Cache
	var buf [512]byte
	b := part(buf[:0], ex.Route.Name)
	b = part(b, v.Authority) // with the port, which the upstream may put into links
	b = part(b, v.Path)
	b = part(b, k.rule.Apply(k.query))
	b = part(b, k.rule.Text())
	b = part(b, k.content)
	b = part(b, strconv.FormatBool(v.TLS))
	for _, name := range rule.Vary { // with names, since another policy may have others
		b = part(part(b, name), rfc9111.Selecting(name, (*sent)(ex).Values(name)))
	}
	for _, s := range rule.Key {
		b = part(append(b, 0, byte(s.Kind)), s.Name) // no name has length 0
		b = partsOf(b, ex, s)
	}
	if rule.Strict && (*sent)(ex).ambiguous() {
		b = part(append(b, 0, 0xff), (*sent)(ex).cookies()) // the upstream may parse these differently
	}
	sum := sha256.Sum256(b)
	return string(base64.RawURLEncoding.AppendEncode(buf[:0], sum[:]))
}

// part appends s, prefixed with its length.
func part(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// partsOf appends the values of one source, prefixed with their number. All values of a repeated
// cookie count, since the upstream may read any of them.
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

// maxSearchRules bounds the paths whose last No-Vary-Search the cache remembers. A rule that was
// evicted, or that this gateway has not seen, costs a miss: keys contain the rule they were made
// by.
const maxSearchRules = 4096

// searched is the path of a request, without its query.
type searched struct{ route, authority, path string }

func searchedBy(ex *exchange.Exchange) searched {
	return searched{ex.Route.Name, ex.View.Authority, ex.View.Path}
}

// searchRule is the rule by which a request's query is compared.
func (c *Cache) searchRule(ex *exchange.Exchange) rfc9111.SearchRule {
	rule, _ := c.search.Get(searchedBy(ex)) // zero: the default
	return rule
}

// learnSearchRule remembers the rule of a stored response and returns it.
func (c *Cache) learnSearchRule(ex *exchange.Exchange, h http.Header) rfc9111.SearchRule {
	rule := rfc9111.ParseSearchRule(h["No-Vary-Search"])
	if rule.Default() {
		c.search.Delete(searchedBy(ex))
	} else {
		c.search.Put(searchedBy(ex), rule)
	}
	return rule
}
