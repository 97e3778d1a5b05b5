package policy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/jewgo/gateway/policy/yamlfile"
)

// maxWarm bounds the URLs of a policy's warm.
const maxWarm = 10_000

// warm checks the URLs that the cache is filled with.
func (c *compiler) warm(s *Snapshot) {
	c.InvalidIf(len(c.policy.Warm) > maxWarm, "warm", "more than 10000 URLs: gateway warm takes longer lists")
	for i, text := range c.policy.Warm {
		at, hosts := c.Item("warm", i), c.policy.Server.Hosts
		u, ok := warmable(text)
		if !ok {
			c.Invalid(at, "bad URL %q (write /PATH, or http://HOST/PATH)", yamlfile.Clip(text))
			continue
		}
		v := View{Method: http.MethodGet, Host: HostOf(u.Host), Path: u.EscapedPath(), Header: http.Header{}}
		if u.Host == "" && len(hosts) > 0 {
			v.Host = hosts[0]
		}
		route, _ := s.Match(&v)
		switch {
		case u.Host != "" && len(hosts) > 0 && !slices.Contains(hosts, v.Host):
			c.Invalid(at, "server.hosts has no %q", yamlfile.Clip(v.Host))
		case route == nil && len(s.Routes) > 0: // else that is the mistake
			c.Invalid(at, "no route takes GET %s", yamlfile.Clip(v.Path))
		case route != nil && route.Cache == nil:
			c.Invalid(at, "route %q is not cached", route.Name)
		}
	}
}

// warmable parses a path with or without a query, or an http or https URL; false: it is none.
func warmable(text string) (*url.URL, bool) {
	u, err := url.Parse(text)
	switch {
	case err != nil || strings.ContainsAny(text, " \t#"):
		return nil, false
	case u.Scheme == "":
		return u, u.Host == "" && strings.HasPrefix(text, "/")
	}
	return u, u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}
