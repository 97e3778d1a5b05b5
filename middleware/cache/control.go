package cache

import (
	"net/http"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// targets is the target list of this cache (RFC 9213, 2.2), its own field first.
// The fields are obeyed and go on to the client, who may be a cache too.
var targets = []string{"Edge-Cache-Control", "Cdn-Cache-Control", "Surrogate-Control"}

// control reads the directives of a response.
func (c *call) control(h http.Header) rfc9111.CacheControl {
	return rfc9111.ResponseControl(h, targets)
}

// groupTags are the tags of the groups that a field names. Groups are of one
// origin (RFC 9875, 2.1).
func groupTags(ex *exchange.Exchange, lines []string) (tags []string) {
	groups := rfc9111.Groups(lines)
	if len(groups) == 0 {
		return nil
	}
	prefix := "group:" + rfc9111.Origin(requestURL(ex)) + " "
	for _, name := range groups {
		tags = append(tags, prefix+name)
	}
	return tags
}
