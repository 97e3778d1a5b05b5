package policy

import (
	"fmt"
	"strings"
	"testing"
)

const diffPolicy = `
version: 1
server: {trusted_proxies: [127.0.0.1/32], max_body: 1MiB}
redis: {url: "redis://:secret@localhost"}
upstreams: {app: {targets: ["http://127.0.0.1:5000"]}}
limits: {login: {rate: 10/min, cost: {POST: 2}, tiers: {editor: {rate: 5/s}}}}
routes:
  - {name: list, match: {methods: [GET], path: /list}, upstream: app, cache: {ttl: 60s, statuses: {404: 10s}}}
  - {name: rest, match: {path: "/{rest...}"}, upstream: app, limits: [login]}
`

// The key of an override may be an API key.
func TestDiffHidesAPIKeys(t *testing.T) {
	t.Parallel()
	text := strings.Replace(diffPolicy, "limits: {", `limits: {api: {key: [client_ip, "header:X-Api-Key"], rate: 1/s, overrides: [{key: [192.0.2.1, hush-1], rate: 9/s}]}, `, 1)
	older, newer := mustParse(t, text, nil).Policy, mustParse(t, strings.Replace(text, "hush-1", "hush-2", 1), nil).Policy
	got := fmt.Sprint(Diff(older, newer))
	if want := "[{limits.api.overrides[0].key [hidden] [hidden]}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDiff(t *testing.T) {
	base := mustParse(t, diffPolicy, nil).Policy
	for _, c := range []struct{ says, from, to, want string }{
		{"nothing", "", "", ""},
		{"the order of routes, and defaults that are written", `rest, match: {path: "/{rest...}"}`, `rest, session: off, match: {path: "/{rest...}"}`, ""},
		{"a lifetime", "ttl: 60s", "ttl: 5m", "routes.list.cache.ttl 1m -> 5m"},
		{"a lifetime by status", "404: 10s", "404: 20s", "routes.list.cache.statuses.404 10s -> 20s"},
		{"a rate", "rate: 10/min", "rate: 20/min", "limits.login.burst 10 -> 20; limits.login.rate 10/min -> 20/min"},
		{"a tier", "5/s", "6/s", "limits.login.tiers.editor.rate 5/s -> 6/s"},
		{"a cost", "{POST: 2}", "3", "limits.login.cost  -> 3; limits.login.cost.POST 2 -> "},
		{"a list", "[127.0.0.1/32]", "[127.0.0.1/32, 10.0.0.0/8]", "server.trusted_proxies [127.0.0.1/32] -> [127.0.0.1/32, 10.0.0.0/8]"},
		{"a size", "max_body: 1MiB", "max_body: 2MiB", "server.max_body 1MiB -> 2MiB"},
		{"no cache any more", ", cache: {ttl: 60s, statuses: {404: 10s}}", "", "routes.list.cache.encode true -> "},
		{"another name", "name: list", "name: lists", "routes.lists.name  -> lists"},
		{"a header that may be a secret", "path: /list}", "path: /list, header: {X-Origin-Verify: secret-2}}", "routes.list.match.header.X-Origin-Verify  -> [hidden]"},
		{"a secret", ":secret@", ":other@", "redis.url [hidden] -> [hidden]"},
	} {
		next := mustParse(t, strings.Replace(diffPolicy, c.from, c.to, 1), nil).Policy
		var got []string
		for _, change := range Diff(base, next) {
			got = append(got, fmt.Sprintf("%s %s -> %s", change.Key, change.Old, change.New))
		}
		text := strings.Join(got, "; ")
		if c.want == "" && text != "" || !strings.Contains(text, c.want) {
			t.Errorf("%s: got %q, want %q", c.says, text, c.want)
		}
		if strings.Contains(text, "secret") {
			t.Errorf("%s shows a secret: %s", c.says, text)
		}
	}
}
