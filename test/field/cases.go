package field

import (
	"net/http"
	"strings"
)

// Names of servers that are a baseline.
const (
	static     = "net/http"           // the same answer from memory
	proxy      = "ReverseProxy"       // httputil's
	redisProxy = "ReverseProxy+Redis" // the same after a call of redis_rate
	gatewayBin = "gateway"
)

// Case is what clients ask for.
type Case struct {
	Name     string
	About    string
	Path     string
	Status   int
	Baseline string   // the server that the others are compared with
	Servers  []string // in the order of the table

	hit    bool // the upstream is asked once, and then no more
	asks   bool // the upstream is asked by every request
	misses bool // every request has another query
	tls    bool
	redis  bool // the gateway has a Redis
}

// Cases are all cases.
func Cases() []Case {
	caches := []string{gatewayBin, static, "nginx", "haproxy", "varnish"}
	return []Case{
		{Name: "hit-1k", About: "a cached response of 1 KiB", Path: "/cached/1024", Status: 200, Baseline: static, Servers: caches, hit: true},
		{Name: "hit-10k", About: "a cached response of 10 KiB", Path: "/cached/10240", Status: 200, Baseline: static, Servers: caches, hit: true},
		{Name: "hit-100k", About: "a cached response of 100 KiB", Path: "/cached/102400", Status: 200, Baseline: static, Servers: caches, hit: true},
		{
			Name: "passthrough", About: "1 KiB from the upstream, without cache and limit", Path: "/bytes/1024", Status: 200,
			Baseline: proxy, Servers: []string{gatewayBin, proxy, "nginx", "haproxy", "varnish", "caddy"}, asks: true,
		},
		{
			Name: "leased", About: "1 KiB from the upstream, allowed by tokens leased from Redis", Path: "/leased/1024", Status: 200,
			Baseline: proxy, Servers: []string{gatewayBin, proxy}, asks: true, redis: true,
		},
		{
			Name: "exact", About: "1 KiB from the upstream, each request allowed by Redis", Path: "/exact/1024", Status: 200,
			Baseline: redisProxy, Servers: []string{gatewayBin, redisProxy}, asks: true, redis: true,
		},
		{
			Name: "refused", About: "429 by a rate limit", Path: "/refused/1024", Status: http.StatusTooManyRequests,
			Baseline: static, Servers: []string{gatewayBin, static, "nginx", "haproxy"}, hit: true,
		},
		{
			Name: "misses", About: "1 KiB that is stored, each request for another URL", Path: "/cached/1024", Status: 200,
			Baseline: proxy, Servers: []string{gatewayBin, proxy, "nginx", "haproxy", "varnish"}, asks: true, misses: true,
		},
		{
			Name: "https-hit-1k", About: "a cached response of 1 KiB over HTTPS, connections kept alive", Path: "/cached/1024", Status: 200,
			Baseline: static, Servers: []string{gatewayBin, static, "nginx", "haproxy", "caddy"}, hit: true, tls: true,
		},
	}
}

// reaches says whether a server passes a case's requests on, as it must in cases that ask the upstream.
// Caddy has no cache.
func (c Case) reaches(server string) bool { return c.asks || server == "caddy" }

// note explains what a server does otherwise than the others.
func (c Case) note(server string) string {
	if c.hit && c.reaches(server) {
		return "has no cache: asks the upstream"
	}
	return ""
}

// choose returns the cases to play. If only is part of a case's name, its servers all play. Otherwise
// those play whose name contains it, with the baseline.
func choose(only string) (chosen []Case) {
	for _, c := range Cases() {
		if strings.Contains(c.Name, only) {
			chosen = append(chosen, c)
			continue
		}
		var servers []string
		found := false
		for _, s := range c.Servers {
			if match := strings.Contains(strings.ToLower(s), strings.ToLower(only)); match || s == c.Baseline {
				servers, found = append(servers, s), found || match
			}
		}
		if found {
			c.Servers = servers
			chosen = append(chosen, c)
		}
	}
	return chosen
}
