package cache

import (
	"net/http"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// maxSearchRules bounds the paths of which the cache remembers what No-Vary-Search
// said last. What is forgotten, or not known to this gateway, costs a miss: keys hold
// the rule that they were made by.
const maxSearchRules = 4096

// searched is the path of a request, its query aside.
type searched struct{ route, authority, path string }

func searchedBy(ex *exchange.Exchange) searched {
	return searched{ex.Route.Name, ex.View.Authority, ex.View.Path}
}

// searchRule is the rule by which a request's query is compared.
func (c *Cache) searchRule(ex *exchange.Exchange) rfc9111.SearchRule {
	rule, _ := c.search.Get(searchedBy(ex)) // zero: the default
	return rule
}

// learnSearchRule takes the rule of a stored response over and returns it.
func (c *Cache) learnSearchRule(ex *exchange.Exchange, h http.Header) rfc9111.SearchRule {
	rule := rfc9111.ParseSearchRule(h["No-Vary-Search"])
	if rule.Default() {
		c.search.Delete(searchedBy(ex))
	} else {
		c.search.Put(searchedBy(ex), rule)
	}
	return rule
}
