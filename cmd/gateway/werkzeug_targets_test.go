package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// targets makes request targets: most are valid, some have a small change, a few are hostile.
type targets struct {
	*rand.Rand
	method, last string
}

func newTargets(r *rand.Rand) *targets { return &targets{Rand: r, method: "GET", last: "/"} }

var (
	targetNumbers = []string{"1", "2", "42", "007", "1", "2", "%D9%A3", "-1", "1.0", "abc", "export", "filter-options"}
	targetSlugs   = []string{"anna", "b%20c", "b+c", "caf%C3%A9", "%E2%80%A8x", "a,b", "a%2Cb", "~x", "%7Ex", "admin", "x;y", "1", "a%3Fb", "%25", "a%253Db", "a|b", "a@b:c"}
	targetNames   = []string{"search", "page", "tag", "lat", "utm_source", "fbclid", "a+b", "a%20b", "%C3%A9", "p%61ge", "Page", "page[]", "x", "", "_method"}
	targetValues  = []string{"", "1", "2", "a+b", "a%20b", "a%26page%3D2", "%3B", "caf%C3%A9", "31.76831", "31.7683", "-0", "1e2", "%2B1", "1%3D1", "a=b", "%ff", "%00", "%25", "%2525", "a/b?c"}

	// hostileInPaths are put anywhere into a path, or in place of a segment; hostileInQueries into a query.
	hostileInPaths = []string{
		"%2e", "%2E%2e", ".", "..", "/./", "/../", "//", "/", "%2f", "%2F", "%252f", "%255c", "%5c", "\\", ";x=1", ";", "%3b", "%3B", "%00", "%0a", "%0d%0a", "%09", "%7f",
		"%c0%ae", "%c0%af", "%e0%80%af", "%ff", "%ed%a0%80", "%c2%85", "%e2%80%a8", "%ef%bc%8f", "%d9%a3", "é", "+", "%20", " ", "%", "%z1", "%u002f", "~", "#", "%23", "?", "%3f",
		"&", "=", "%26", "@", ":", "|", "%7C", "%25", "%25%32%66", "export", "%65xport", "private", "admin", "debug", "..;", "*", "'", "\"", "<", "{",
	}
	hostileInQueries = []string{
		"&", "&&", ";", ";page=2", "%3bpage=3", "%26page%3d2", "%26", "%3d", "=", "==", "+", "%2b", "%20", " ", "%", "%z1", "%1", "%u0061", "%00", "%0a", "%0d", "%ff", "%c3", "%c0%ae",
		"&page", "&page=", "page=1&page=2", "&=", "&=1", "&p%61ge=3", "&%70%61%67%65=4", "&Page=2", "&page%00=1", "&page%20=1", "&+page=1", "&utm_source=x", "&utm%5Fsource=x",
		"?", "&?page=2", "#", "#&page=2", "é", "&page[]=1", "&page.x=1", "&p%2561ge=5", "\\", "&%C3%A9=1", "&%E9=1", "&a%20b=1", "&a+b=1", "&a_b=1", "&lat=1e-7", "&lat=0x1p3", "&lat=Infinity", "&lat=1.0005",
	}
)

func (g *targets) one(of []string) string { return of[g.IntN(len(of))] }

// next returns a method and a target. Some are the last one in other words, which often has its key.
func (g *targets) next() (method, target string) {
	if g.IntN(4) == 0 {
		return g.method, g.reworded(g.last)
	}
	r := werkzeugRules[g.IntN(len(werkzeugRules))]
	if r.deny && g.IntN(3) > 0 { // most go where they may pass
		r = werkzeugRules[g.IntN(len(werkzeugRules))]
	}
	g.method = g.one(r.methods)
	if g.IntN(40) == 0 {
		g.method = g.one(werkzeugVerbs)
	}
	g.last = g.path(r.rule) + g.query()
	switch n := g.IntN(20); {
	case n < 10:
		return g.method, g.last
	case n < 17:
		return g.method, g.mutated(g.last)
	default:
		return g.method, g.mutated(g.mutated(g.last))
	}
}

func (g *targets) path(rule string) string {
	rule = strings.ReplaceAll(rule, "<int:id>", targetNumbers[min(g.IntN(len(targetNumbers)), g.IntN(len(targetNumbers)))])
	for _, name := range []string{"<review>", "<slug>"} {
		rule = strings.ReplaceAll(rule, name, g.one(targetSlugs))
	}
	if strings.Contains(rule, "<path:rest>") {
		var parts []string
		for range g.IntN(3) + 1 {
			parts = append(parts, g.one(targetSlugs))
		}
		rule = strings.ReplaceAll(rule, "<path:rest>", strings.Join(parts, "/"))
	}
	if g.IntN(12) == 0 && len(rule) > 1 {
		if bare, ok := strings.CutSuffix(rule, "/"); ok {
			return bare
		}
		return rule + "/"
	}
	return rule
}

func (g *targets) query() string {
	n := g.IntN(4)
	if n == 0 {
		return []string{"", "", "", "?"}[g.IntN(4)]
	}
	var pairs []string
	for range n {
		pair := g.one(targetNames)
		if g.IntN(10) > 0 {
			pair += "=" + g.one(targetValues)
		}
		pairs = append(pairs, pair)
	}
	return "?" + strings.Join(pairs, "&")
}

// mutated makes one change that may be hostile.
func (g *targets) mutated(target string) string {
	path, query, asked := strings.Cut(target, "?")
	if asked && g.IntN(2) == 0 {
		return path + "?" + g.inserted(query, hostileInQueries)
	}
	end := ""
	if asked {
		end = "?" + query
	}
	parts := strings.Split(path[min(1, len(path)):], "/")
	i := g.IntN(len(parts))
	switch g.IntN(8) {
	case 0:
		return "/" + g.inserted(path[min(1, len(path)):], hostileInPaths) + end
	case 1:
		parts[i] = g.one(hostileInPaths)
	case 2:
		parts[i] += "/" + g.one(hostileInPaths)
	case 3:
		parts[i] = strings.ToUpper(parts[i])
	case 4:
		parts[i] += "/" + parts[g.IntN(len(parts))]
	case 5:
		return g.inserted(path, []string{"/", "//", "%2f"}) + end
	case 6:
		return g.escaped(g.escaped(path, false), true) + end // twice, maybe
	default:
		return g.escaped(path, false) + end
	}
	return "/" + strings.Join(parts, "/") + end
}

func (g *targets) inserted(s string, what []string) string {
	at := g.IntN(len(s) + 1)
	return s[:at] + g.one(what) + s[at:]
}

// escaped writes some byte as an escape; percent: one that may be a percent sign.
func (g *targets) escaped(s string, percent bool) string {
	if len(s) < 2 {
		return s
	}
	at := 1 + g.IntN(len(s)-1)
	if s[at] == '/' && g.IntN(3) > 0 || s[at] == '%' && !percent {
		return s
	}
	format := []string{"%%%02x", "%%%02X"}[g.IntN(2)]
	return s[:at] + fmt.Sprintf(format, s[at]) + s[at+1:]
}

// reworded says the same in other words, mostly: it escapes, reorders, and adds what is dropped.
func (g *targets) reworded(target string) string {
	path, query, _ := strings.Cut(target, "?")
	pairs := strings.Split(query, "&")
	switch g.IntN(6) {
	case 0:
		return g.escaped(path, false) + "?" + query
	case 1:
		g.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
	case 2:
		return path + "?" + query + "&" + g.one([]string{"utm_source=1", "fbclid=a%26page%3D7", "", "utm_sourc%65=2", "&"})
	case 3:
		return path + "?" + strings.TrimPrefix(g.escaped("?"+query, false), "?")
	case 4:
		return path + "?" + strings.NewReplacer("+", "%20", "%20", "+").Replace(query)
	default:
		i := g.IntN(len(pairs))
		pairs[i] = g.escaped(pairs[i], false)
	}
	return path + "?" + strings.Join(pairs, "&")
}
