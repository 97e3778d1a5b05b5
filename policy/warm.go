package policy

import (
	"net/url"
	"strings"

	"github.com/jewgo/gateway/policy/yamlfile"
)

// maxWarm bounds the URLs of a policy's warm.
const maxWarm = 10_000

// warm checks the URLs that the cache is filled with.
func (c *compiler) warm() {
	c.InvalidIf(len(c.policy.Warm) > maxWarm, "warm", "more than 10000 URLs: gateway warm takes longer lists")
	for i, text := range c.policy.Warm {
		if !warmable(text) {
			c.Invalid(c.Item("warm", i), "bad URL %q (write /PATH, or http://HOST/PATH)", yamlfile.Clip(text))
		}
	}
}

// warmable reports whether a text is a path with or without a query, or an http or https URL.
func warmable(text string) bool {
	u, err := url.Parse(text)
	switch {
	case err != nil || strings.ContainsAny(text, " \t#"):
		return false
	case u.Scheme == "":
		return u.Host == "" && strings.HasPrefix(text, "/")
	}
	return u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}
