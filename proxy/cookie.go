package proxy

import (
	"net/http"
	"slices"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

// sharedCookies leaves those that a request may carry whose response may go to
// anyone: by the standard all (strict: the response's own headers decide), else
// only those that are part of the key; and never one that stays in a session.
func sharedCookies(h http.Header, ex *exchange.Exchange) {
	rule, offload := ex.Route.Cache, ex.Snapshot.Policy.Session.Offload
	policy.FilterCookies(h, func(name string) bool {
		return rule != nil && (rule.Strict || keyed(rule, name)) && !slices.Contains(offload, name)
	})
}

func keyed(rule *policy.CacheRule, cookie string) bool {
	for _, source := range rule.Key {
		if source.Kind == policy.SourceCookie && source.Name == cookie {
			return true
		}
	}
	return slices.Contains(rule.Vary, "Cookie")
}
