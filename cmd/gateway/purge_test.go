package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

const purgePolicy = `
version: 1
server: {data_dir: ./%[1]s, hosts: [localhost, 127.0.0.1], timeouts: {read_header: 30s}}
redis: {url: %[2]q, budget: 2s}
session: {cookie: {name: gw, secure: false}, keys_file: ./session.keys, identity: {keys_file: ./identity.keys}}
upstreams:
  app: {targets: [%[3]q]}
limits:
  login: {key: client_ip, rate: 10/h}
routes:
  - {name: auth, match: {path: "/auth/{verb}"}, upstream: app, session: optional, session_signal: true}
  - {name: login, match: {path: /login}, upstream: app, limits: [login]}
  - {name: list, match: {path: /list}, upstream: app, cache: {ttl: 1h, stale_while_revalidate: 1h, tags: [all-lists]}}
  - {name: item, match: {path: "/item/{id}"}, upstream: app, cache: {ttl: 1h, tags: ["item:{id}"]}}
  - {name: mine, match: {path: /mine}, upstream: app, session: required, cache: {ttl: 1h, key: [session]}}
  - {name: plain, match: {path: /plain}, upstream: app}
`

// purgeFleet is two gateways that share a Redis, and an upstream whose responses are numbered.
type purgeFleet struct {
	t       *testing.T
	a, b    *gatewayProcess
	policy  string // of a
	version atomic.Int64
}

func startPurgeFleet(t *testing.T, redisURL string) *purgeFleet {
	f := &purgeFleet{t: t}
	f.version.Store(1)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/auth/login" {
			w.Header().Set("X-Gw-Session", `login {"user":"42","roles":["editor"]}`)
		}
		w.Header().Set("Cache-Groups", `"menus"`)
		_, _ = fmt.Fprintf(w, "%s %d", r.URL.Path, f.version.Load())
	}))
	t.Cleanup(upstream.Close)
	here, there := policyFolder(t)
	for _, name := range []string{"a", "b"} {
		writePolicy(t, filepath.Join(here, name+".yaml"), fmt.Sprintf(purgePolicy, name, redisURL, upstream.URL))
	}
	own(t, here)
	f.policy = filepath.Join(there, "a.yaml")
	f.a = start(t, nil, "run", "--config", f.policy)
	f.b = start(t, nil, "run", "--config", filepath.Join(there, "b.yaml"))
	env.Eventually(t, 20*time.Second, func() error { // until both have beaten
		if _, out, err := f.purge("--tag", "none"); !strings.Contains(out, "applied on 2 of 2 gateways") {
			return fmt.Errorf("%s%s", out, err)
		}
		return nil
	})
	return f
}

// want expects a version of a path from both gateways, at once from the first and soon from the
// second.
func (f *purgeFleet) want(why, path string, version int) {
	f.t.Helper()
	text := fmt.Sprintf("%s %d", path, version)
	if r := f.a.get(path); r.body != text {
		f.t.Errorf("%s: %q here, want %q", why, r.body, text)
	}
	env.Eventually(f.t, 5*time.Second, func() error {
		if r := f.b.get(path); r.body != text {
			return fmt.Errorf("%s: %q on the other gateway, want %q", why, r.body, text)
		}
		return nil
	})
}

// purge runs the verb against the first gateway.
func (f *purgeFleet) purge(args ...string) (code int, stdout, stderr string) {
	f.t.Helper()
	return f.verb("purge", args...)
}

// awaitHealth waits until both gateways say so.
func (f *purgeFleet) awaitHealth(want string) {
	f.t.Helper()
	for _, g := range []*gatewayProcess{f.a, f.b} {
		env.Eventually(f.t, 20*time.Second, func() error {
			if r := g.get(g.admin + "/readyz"); r.body != want {
				return fmt.Errorf("%s", r.body)
			}
			return nil
		})
	}
}

// prints runs a verb, and expects its exit status and a pattern in what it prints.
func (f *purgeFleet) prints(code int, pattern, words string, args ...string) {
	f.t.Helper()
	if got, out, err := f.verb(words, args...); got != code || !regexp.MustCompile(pattern).MatchString(out+err) {
		f.t.Errorf("%s %q: %d %q %q, want %d %q", words, args, got, out, err, code, pattern)
	}
}

// verb runs a verb against the first gateway. A flag that is repeated in args is that of args.
func (f *purgeFleet) verb(words string, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	to := []string{"--config", f.policy, "--admin", strings.TrimPrefix(f.a.admin, "http://")}
	code = execute(slices.Concat(strings.Fields(words), to, args), &out, &err)
	return code, out.String(), err.String()
}

func TestPurge(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	f := startPurgeFleet(t, server.URL)
	f.want("the first request", "/list", 1)
	f.want("the first request", "/item/7", 1)
	f.version.Store(2)
	f.want("what is stored stays", "/list", 1)

	applied := regexp.MustCompile(`^purge [a-z0-9]{16}: applied on 2 of 2 gateways\n$`)
	version := 1
	for _, args := range [][]string{
		{"--tag", "all-lists"}, {"--url", "http://127.0.0.1/list?page=7"}, {"--url", "/list"}, {"--route", "list"}, {"--group", "menus"}, {"--all", "--yes"},
	} {
		version++
		f.version.Store(int64(version))
		if code, out, err := f.purge(args...); code != 0 || !applied.MatchString(out) {
			t.Errorf("%v: %d %q %q", args, code, out, err)
		}
		f.want(strings.Join(args, " "), "/list", version)
	}
	f.want("after the purge of all", "/item/7", version)

	// A soft purge is served stale once, and refreshed behind that.
	f.version.Store(100)
	if code, out, err := f.purge("--tag", "all-lists", "--soft"); code != 0 || !applied.MatchString(out) {
		t.Errorf("soft: %d %q %q", code, out, err)
	}
	stale := f.a.get("/list")
	if !strings.HasSuffix(stale.body, fmt.Sprint(" ", version)) || !strings.Contains(stale.Header.Get("Cache-Status"), "stale-while-revalidate") {
		t.Errorf("after a soft purge: %q, %s", stale.body, stale.Header.Get("Cache-Status"))
	}
	env.Eventually(t, env.Patience, func() error {
		if r := f.a.get("/list"); r.body != "/list 100" {
			return fmt.Errorf("after the refresh: %q", r.body)
		}
		return nil
	})
	f.want("the other gateway", "/list", 100)
	f.want("what another tag has", "/item/7", version)

	// Without Redis the purge is in force here, and everywhere once Redis is back.
	server.Kill()
	f.version.Store(200)
	f.a.stderr.await(t, "redis is unavailable")
	code, out, _ := f.purge("--route", "item")
	pending := regexp.MustCompile(`^purge ([a-z0-9]{16}): pending, on this gateway: redis is unavailable`).FindStringSubmatch(out)
	if code != 0 || pending == nil {
		t.Fatalf("without Redis: %d %q", code, out)
	}
	if r := f.a.get("/item/7"); r.body != "/item/7 200" {
		t.Errorf("without Redis, here: %q", r.body)
	}
	server.Restart(true)
	if code, out, err := f.purge("--status", pending[1], "--wait"); code != 0 || !applied.MatchString(out) {
		t.Errorf("with Redis again: %d %q %q", code, out, err)
	}
	f.want("with Redis again", "/item/7", 200)

	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), name)
		if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "say what to purge: --tag, --url, --route, --group or --all"},
		{[]string{"--all"}, 2, "say --yes"},
		{[]string{"--tag", "a,b"}, 1, `tag "a,b": tags are visible ASCII`},
		{[]string{"--url", "http://elsewhere.example/list"}, 1, `host "elsewhere.example" is not served: server.hosts has localhost, 127.0.0.1`},
		{[]string{"--url", "list"}, 1, "write http://HOST/PATH"},
		{[]string{"--route", "lists"}, 1, `the policy has no route "lists"`},
		{[]string{"--route", "plain"}, 1, `route "plain" has no cache`},
		{[]string{"--status", "0123456789abcdef"}, 1, "no purge 0123456789abcdef"},
		{[]string{"--tag", "x", "--admin", "127.0.0.1:1"}, 1, "no gateway at 127.0.0.1:1"},
		{[]string{"--tag", "x", "--token-file", "none"}, 1, "this call needs the admin token: open none: no such file or directory; set --token-file or GATEWAY_ADMIN_TOKEN"},
		{[]string{"--tag", "x", "--token-file", file("loose", "x", 0o644)}, 1, "loose has mode 0644: only its owner, and its group to read it, may have access; run chmod 640 on it, or 600"},
		{[]string{"--tag", "x", "--token-file", file("wrong", "x", 0o600)}, 1, "this is not the admin token: it is in the gateway's server.admin_token_file, else in admin.token in its data_dir"},
		{[]string{"--tag", "x", "--admin", other.Listener.Addr().String()}, 1, "has no page /v1/purges: it is not the admin address of a gateway, or of another version than this command"},
		{[]string{"everything"}, 2, "unknown command"},
	} {
		if code, out, err := f.purge(tc.args...); code != tc.code || !strings.Contains(err, tc.want) || out != "" {
			t.Errorf("%v: %d %q %q, want %d %q", tc.args, code, out, err, tc.code, tc.want)
		}
	}
	f.a.stderr.await(t, `"call":"POST /v1/purges","what":"{\"routes\":[\"item\"]}"`)
	f.a.stderr.await(t, `"status":401`)
	for page, want := range map[string]string{"/v1/upstreams": `"healthy": true`, "/v1/config": `"routes": 6`, "/v1": `"path": "/v1/purges/{id}"`} {
		if r := f.a.get(f.a.admin + page); r.StatusCode != http.StatusOK || !strings.Contains(r.body, want) {
			t.Errorf("%s: %s %s", page, r.Status, r.body)
		}
	}
	for _, path := range []string{"/v1", "/v1/purges", "/readyz", "/metrics", "/debug/pprof/"} { // a route of the policy, or none
		if r := f.a.get(path); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s for clients: %s", path, r.Status)
		}
	}
	res := f.a.do("GET", f.a.admin+"/v1/purges", "")
	if res.StatusCode != http.StatusOK || !strings.Contains(res.body, pending[1]) {
		t.Errorf("the list: %s %s", res.Status, res.body)
	}
}
