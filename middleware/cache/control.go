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

// groupTags are the tags of groups (RFC 9875), which are of one origin.
func groupTags(ex *exchange.Exchange, lines []string) (tags []string) {
	for _, name := range rfc9111.Groups(lines) {
		origin := "http://"
		if ex.View.TLS {
			origin = "https://"
		}
		tags = append(tags, "group:"+origin+ex.View.Authority+" "+name)
	}
	return tags
}
