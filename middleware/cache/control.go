package cache

import (
	"net/http"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// requestControl reads a request's directives. Pragma: no-cache counts where
// there is no Cache-Control (RFC 9111, 5.4).
func requestControl(ex *exchange.Exchange) rfc9111.CacheControl {
	lines := ex.View.Header.Values("Cache-Control")
	if len(lines) == 0 {
		lines = ex.View.Header.Values("Pragma")
		return rfc9111.CacheControl{NoCache: len(lines) > 0 && rfc9111.ParseCacheControl(lines).NoCache}
	}
	return rfc9111.ParseCacheControl(lines)
}

// targets is the target list of this cache (RFC 9213, 2.2), its own field first.
// The fields are obeyed and go on to the client, who may be a cache too.
var targets = []string{"Edge-Cache-Control", "Cdn-Cache-Control", "Surrogate-Control"}

// responseControl reads a response's directives.
func responseControl(h http.Header) rfc9111.CacheControl { return rfc9111.ResponseControl(h, targets) }
