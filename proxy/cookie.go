package proxy

import (
	"net/http"
	"slices"
	"strings"

	"github.com/jewgo/gateway/policy"
)

// filterCookies removes the cookies that keep refuses. What stays keeps its
// order and its bytes.
func filterCookies(h http.Header, keep func(name string) bool) {
	lines := h["Cookie"]
	if len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
		if line = filterLine(line, keep); line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

func filterLine(line string, keep func(name string) bool) string {
	pairs := strings.Split(line, ";")
	kept := make([]string, 0, len(pairs))
	for _, pair := range pairs {
		name, _, _ := strings.Cut(pair, "=")
		if keep(strings.TrimSpace(name)) {
			kept = append(kept, pair)
		}
	}
	if len(kept) == len(pairs) {
		return line
	}
	return strings.TrimSpace(strings.Join(kept, ";"))
}

// sharedCookies are those that a request may carry whose response may go to
// anyone: by the standard all (strict: the response's own headers decide), else
// only those that are part of the key.
func sharedCookies(h http.Header, rule *policy.CacheRule) {
	if rule != nil && rule.Strict {
		return
	}
	filterCookies(h, func(name string) bool { return rule != nil && keyed(rule, name) })
}

func keyed(rule *policy.CacheRule, cookie string) bool {
	for _, source := range rule.Key {
		if source.Kind == policy.SourceCookie && source.Name == cookie {
			return true
		}
	}
	return slices.Contains(rule.Vary, "Cookie")
}
