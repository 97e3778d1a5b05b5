package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jewgo/gateway/test/env"
)

const explainVerbPolicy = `
version: 1
server: {data_dir: ./data, hosts: [127.0.0.1], trusted_proxies: [127.0.0.1/32], timeouts: {read_header: 30s}}
redis: {url: "${REDIS_URL:-}", replicas: 2, budget: 2s}
session: {cookie: {name: gw, secure: false}}
upstreams: {app: {targets: [%q]}}
limits: {some: {key: client_ip, rate: 10/h, burst: 10}}
routes:
  - {name: login, match: {path: /login}, upstream: app, session: optional, session_signal: true}
  - {name: lists, match: {methods: [GET], path: /lists}, upstream: app, limits: [some], cache: {ttl: 1s, stale_while_revalidate: 1h, tags: [lists]}}
  - {name: mine, match: {path: /mine}, upstream: app, session: required, cache: {ttl: 1h, key: [session]}}
  - {name: rest, match: {path: "/{rest...}"}, upstream: app}
`

// explainVerb runs the verb in this process.
type explainVerb struct {
	t    *testing.T
	args []string
}

func (v explainVerb) run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = execute(append(append([]string{"explain"}, args...), v.args...), &out, &errs)
	return code, out.String(), errs.String()
}

// prints expects a status and an output that matches.
func (v explainVerb) prints(code int, want string, args ...string) {
	v.t.Helper()
	got, out, errs := v.run(args...)
	if got != code || !regexp.MustCompile(want).MatchString(out+errs) {
		v.t.Errorf("explain %q: status %d, want %d\n%s%swant %s", args, got, code, out, errs, want)
	}
}

func (v explainVerb) json(args ...string) (x explanation) {
	v.t.Helper()
	_, out, errs := v.run(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &x); err != nil {
		v.t.Fatalf("explain %q: %v\n%s%s", args, err, out, errs)
	}
	return x
}

func TestExplainVerb(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			w.Header().Set("X-Gw-Session", `login {"user":"42","roles":["editor"]}`)
		}
	}))
	t.Cleanup(upstream.Close)
	server := env.Redis(t)
	here, there := policyFolder(t)
	file := filepath.Join(there, "gateway.yaml")
	writePolicy(t, filepath.Join(here, "gateway.yaml"), fmt.Sprintf(explainVerbPolicy, upstream.URL))
	own(t, here)
	g := start(t, []string{"REDIS_URL=" + server.URL}, "run", "--config", file)
	g.stderr.await(t, "redis is in use")
	v := explainVerb{t, []string{"--admin", strings.TrimPrefix(g.admin, "http://")}}
	at := regexp.QuoteMeta(file)

	v.prints(0, `(?s)^request +GET http://127\.0\.0\.1/lists\?a=1 from 127\.0\.0\.1 at .*\npolicy +`+at+` [0-9a-f]{12}\nredis +up since .*\n`+
		`answer +the upstream's, assumed to be 200 \(edge; fwd=uri-miss; fwd-status=200; stored\)\nredis down +the same answer\n`+
		`route +lists, `+at+`:10:5: GET /lists\n +not rest, `+at+`:12:5: it is less specific than lists\n +not login, .*: the path differs from /login\n`+
		`.*limit +some: admits it, then 9 of 10 left, 10/h; some\|9:127\.0\.0\.1\n`+
		`cache +asks the upstream: nothing is stored under its key \(uri-miss\)\n +key \S+, query "a=1"\n +would store: 200, fresh for 1s, tags lists, kept for .*\n`+
		`upstream +app, 127\.0\.0\.1:\d+: GET /lists\?a=1\n +Host: 127\.0\.0\.1\n.*X-Forwarded-For: 127\.0\.0\.1\n`, "GET", "/lists?a=1")
	v.prints(0, `would not store it: set-cookie\n`, "GET", "/lists", "--response", "Set-Cookie: a=b")
	v.prints(0, `would not store it: \S+\n`, "GET", "/lists", "--status", "503")
	v.prints(0, `bypassed: Authorization\n`, "GET", "/lists", "-H", "Authorization: Bearer x")
	v.prints(0, `(?s)answer +the upstream's, assumed to be 502 .*would not store it: status\n`, "GET", "/lists", "--status", "502")
	v.prints(0, `^request +CONNECT http://127\.0\.0\.1(:\d+)?/lists from .*\n(.*\n)+answer +501 from the gateway`, "CONNECT", "/lists")
	v.prints(0, `Authorization: \[hidden\]\n`, "GET", "/other", "-H", "Authorization: Bearer secret")
	v.prints(0, `answer +421 from the gateway: the host is not served\n`, "GET", "http://other.example/lists")
	v.prints(0, `\nroute +none\n$`, "GET", "/a//b")

	// What is stored, and what its age will make of it.
	for range 3 {
		g.get("/lists", "X-Forwarded-For", "203.0.113.7")
	}
	late := []string{"GET", "http://" + strings.TrimPrefix(g.base, "http://") + "/lists", "--client", "203.0.113.7", "--at", "+10m"}
	v.prints(0, `(?s)answer +200 from the cache \(edge; hit; ttl=-\d+; detail=stale-while-revalidate\).*cache +asks the upstream in the background: what is stored is no longer fresh \(stale\)\n.*stored: 200, stale for .*, tags lists, in l1\n.*upstream +app`, late...)
	if x := v.json(late...); len(x.Sent) != 1 || x.Limits[0].Remaining != 7 {
		t.Errorf("%+v", x) // one token has come back by then
	}

	// Sessions, by their cookie and by the ID that `gateway sessions list` has.
	login := g.get("/login").Cookies()[0]
	v.prints(0, `answer +401 from the gateway: no session\n`, "GET", "/mine")
	v.prints(0, `(?s)answer +the upstream's.*session +valid, ID [0-9a-f]{32}, user 42, roles editor\n`, "GET", "http://"+strings.TrimPrefix(g.base, "http://")+"/mine", "-H", "Cookie: gw="+login.Value)
	id := v.json("GET", "http://"+strings.TrimPrefix(g.base, "http://")+"/mine", "-H", "Cookie: gw="+login.Value).Session.ID
	v.prints(0, `session +valid, ID [0-9a-f]{32}, user 42, roles editor\n`, "GET", "/mine", "--session", id[:12])
	v.prints(0, `(?s)answer +401 .*session +expired\n`, "GET", "/mine", "--session", id, "--at", "+9000h")
	v.prints(1, `no such session`, "GET", "/mine", "--session", "0123456789ab")
	var out bytes.Buffer
	execute([]string{"sessions", "revoke", id, "--admin", v.args[1], "--token-file", filepath.Join(here, "data", "admin.token")}, &out, &out)
	v.prints(0, `session +revoked\n`, "GET", "http://"+strings.TrimPrefix(g.base, "http://")+"/mine", "-H", "Cookie: gw="+login.Value)

	// What is said of an outage is what one brings: half of the tokens, since there are two gateways.
	client := []string{"GET", "/lists", "--client", "203.0.113.8"}
	for range 4 {
		g.get("/lists", "X-Forwarded-For", "203.0.113.8")
	}
	said := v.json(append(client, "--redis", "down")...)
	if said.Redis[0].State != "down" || said.Limits[0].By != "share" || !said.Answer.Local {
		t.Errorf("if redis were down: %+v", said)
	}
	server.Kill()
	env.Eventually(t, env.Patience, func() error {
		if x := v.json(client...); x.Redis[0].State != "down" {
			return fmt.Errorf("redis is %s", x.Redis[0].State)
		}
		return nil
	})
	if x := v.json(client...); x.Limits[0].Remaining != said.Limits[0].Remaining || x.RedisDown != nil {
		t.Errorf("redis is down: %+v, said %+v", x.Limits, said.Limits)
	}
	if r := g.get("/lists", "X-Forwarded-For", "203.0.113.8"); !strings.Contains(r.Header.Get("Ratelimit"), fmt.Sprintf(`"some";r=%d;`, said.Limits[0].Remaining)) {
		t.Errorf("%s, said %+v", r.Header.Get("Ratelimit"), said.Limits)
	}

	// Mistakes.
	for _, c := range []struct {
		want string
		args []string
	}{
		{`accepts 2 arg\(s\), received 1`, []string{"GET"}},
		{`unknown flag: --heder`, []string{"GET", "/", "--heder", "x"}},
	} {
		v.prints(2, c.want, c.args...)
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{`url "lists": want a path such as`, []string{"GET", "lists"}},
		{`url "ftp://x/": the scheme "ftp" is not served`, []string{"GET", "ftp://x/"}},
		{`url "/a b": a space or control character must be escaped`, []string{"GET", "/a b"}},
		{`method "G T": want one such as GET`, []string{"G T", "/"}},
		{`header "X": want NAME: VALUE`, []string{"GET", "/", "-H", "X"}},
		{`client "me": want an IP address`, []string{"GET", "/", "--client", "me"}},
		{`at "noon": want a duration from now such as \+90s, or a time such as`, []string{"GET", "/", "--at", "noon"}},
		{`at "2020-01-01T00:00:00Z": it is past`, []string{"GET", "/", "--at", "2020-01-01T00:00:00Z"}},
		{`redis "up": only down can be assumed`, []string{"GET", "/", "--redis", "up"}},
		{`status "99": want one from 200 to 599`, []string{"GET", "/", "--status", "99"}},
		{`response "X": want NAME: VALUE`, []string{"GET", "/", "--response", "X"}},
	} {
		v.prints(2, c.want, c.args...)
		explainVerb{t, []string{"--config", file}}.prints(2, c.want, c.args...) // the same without a gateway
	}
	v.args = []string{"--admin", "127.0.0.1:1"}
	v.prints(1, `no gateway at 127\.0\.0\.1:1`, "GET", "/lists")

	// The policy alone.
	v.args = []string{"--config", file}
	v.prints(0, `(?s)\n +no gateway was asked: nothing is stored.*then 9 of 10 left`, "GET", "/lists", "--client", "203.0.113.8")
	v.args[1] = filepath.Join(there, "none.yaml")
	v.prints(2, `no policy: .*none\.yaml`, "GET", "/lists")
	if r := g.get(g.admin + "/v1/explain?method=GET&url=/&colour=red"); r.StatusCode != http.StatusBadRequest || !strings.Contains(r.body, `unknown parameter \"colour\"`) {
		t.Errorf("an unknown parameter: %s %s", r.Status, r.body)
	}
	if r := g.get(g.admin + "/v1/explain?method=GET&url=/&header=" + strings.Repeat("a", maxQuestion)); r.StatusCode == http.StatusOK {
		t.Error("a header of any length")
	}
}

// What only Redis knows, since another gateway put it there, is explained too.
func TestExplainReadsRedis(t *testing.T) {
	t.Parallel()
	f := startPurgeFleet(t, env.Redis(t).URL)
	v := explainVerb{t, []string{"--admin", strings.TrimPrefix(f.a.admin, "http://")}}
	host := strings.TrimPrefix(f.b.base, "http://") // the key has the port
	f.b.get("/item/7")
	v.prints(0, `answer +200 from the cache \(edge; hit; ttl=\d+; detail=l2\)\nredis down +the upstream's`, "GET", "http://"+host+"/item/7")
	v.prints(0, `(?s)answer +200 from the cache \(edge; hit; ttl=\d+; detail=l2\)\n.*query ""\n`, "GET", "http://"+host+"/item/7") // it was not kept

	cookie := f.b.get("/auth/login").Cookies()[0]
	header := "Cookie: gw=" + cookie.Value
	v.prints(0, `session +valid, ID \S+, user 42, roles editor`, "GET", "http://127.0.0.1/mine", "-H", header)
	id := v.json("GET", "http://127.0.0.1/mine", "-H", header).Session.ID
	v.prints(0, `session +valid, ID \S+, user 42, roles editor`, "GET", "/mine", "--session", id)
	var out bytes.Buffer
	if code := execute([]string{"sessions", "revoke", id, "--config", f.policy, "--admin", strings.TrimPrefix(f.b.admin, "http://"), "--token-file", filepath.Join(filepath.Dir(f.policy), "b", "admin.token")}, &out, &out); code != 0 {
		t.Fatal(out.String())
	}
	v.prints(0, `(?s)answer +401 from the gateway.*session +revoked`, "GET", "http://127.0.0.1/mine", "-H", header)

	for range 4 {
		f.b.get("/login")
	}
	v.prints(0, `limit +login: admits it, then 5 of 10 left`, "GET", "/login")
	v.prints(0, `limit +login: admits it, then 5 of 10 left`, "GET", "/login")
}
