package policy

import (
	"fmt"
	"testing"
)

// One value stands for a list of one wherever a list of values is asked for, and a
// variable that is empty for one of none.
func TestOneValueIsAListOfOne(t *testing.T) {
	const text = `
version: 1
server: {hosts: localhost, trusted_proxies: %s}
upstreams: {app: {targets: "http://127.0.0.1:1"}}
limits: {l: {key: host, rate: 1/s, statuses: 401, allow: 10.0.0.0/8, deny: 10.1.0.0/16}}
cors: {origins: "https://a.example", methods: GET}
session: {trusted_origins: "https://b.example", offload: s}
routes:
  - name: all
    match: {methods: GET, path: /}
    upstream: app
    limits: l
    invalidates: t
    upgrade: websocket
    cache: {ttl: 1s, key: "header:X-B", vary: Accept, tags: t, bypass: "cookie:a", pass: X-A, query: {allow: q}}
`
	p := mustParse(t, fmt.Sprintf(text, "127.0.0.1"), nil).Policy
	l, r := p.Limits["l"], p.Routes[0]
	got := fmt.Sprint(p.Server.Hosts, len(p.Server.TrustedProxies), p.Upstreams["app"].Targets, l.Key, l.Statuses, len(l.Allow), len(l.Deny),
		p.CORS.Origins, p.CORS.Methods, p.Session.TrustedOrigins, p.Session.Offload,
		r.Match.Methods, r.Limits, r.Invalidates, r.Upgrade, r.Cache.Key, r.Cache.Vary, r.Cache.Tags, r.Cache.Bypass, r.Cache.Pass, r.Cache.Query.Allow)
	want := "[localhost] 1 [http://127.0.0.1:1] [host] [401] 1 1 [https://a.example] [GET] [https://b.example] [s] " +
		"[GET] [l] [t] [websocket] [header:X-B] [Accept] [t] [cookie:a] [X-A] [q]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if p := mustParse(t, fmt.Sprintf(text, `"${NONE:-}"`), nil).Policy; len(p.Server.TrustedProxies) != 0 {
		t.Errorf("an empty variable: %v", p.Server.TrustedProxies)
	}
}
