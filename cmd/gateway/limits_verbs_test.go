package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

const limitVerbsPolicy = `
version: 1
server: {data_dir: ./data, trusted_proxies: [127.0.0.1/32], timeouts: {read_header: 30s}}
redis: {url: %q, budget: 500ms}
upstreams:
  app: {targets: [%q]}
limits:
  login: {key: client_ip, rate: 10/h}
  key: {key: "header:X-Key", rate: 10/h}
routes:
  - {name: login, match: {path: /login}, upstream: app, limits: [login, key]}
  - {name: keyed, match: {path: /keyed}, upstream: app, limits: [key]}
`

func TestLimitVerbs(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(upstream.Close)
	server := env.Redis(t)
	here, there := policyFolder(t)
	writePolicy(t, filepath.Join(here, "gateway.yaml"), fmt.Sprintf(limitVerbsPolicy, server.URL, upstream.URL))
	own(t, here)
	config := filepath.Join(there, "gateway.yaml")
	g := start(t, nil, "run", "--config", config)
	g.stderr.await(t, "redis is in use")
	for range 11 {
		g.get("/login", "X-Forwarded-For", "203.0.113.7")
	}
	for _, tc := range []struct {
		args   []string
		code   int
		stdout string // a regular expression, "" for nothing
		stderr string
	}{
		{[]string{"top"}, 0, `^charged  refused  key\n(.*\n)*11       1        login\|11:203\.0\.113\.7\n`, ""},
		{[]string{"show", "login|11:203.0.113.7"}, 0, `^login\|11:203\.0\.113\.7\n  all gateways: 0 left, whole in \S+\n$`, ""},
		{[]string{"show", "--route", "login", "--client", "203.0.113.8"}, 0, `^login\|11:203\.0\.113\.8\n  all gateways: 10 left, whole in 0s\n$`, ""},
		{[]string{"reset", "--route", "login", "--client", "203.0.113.7"}, 0, `^login\|11:203\.0\.113\.7 is whole on all gateways within 1s\n$`, ""},
		{[]string{"show", "login|11:203.0.113.7"}, 0, `all gateways: 10 left`, ""},
		{[]string{"show"}, 2, "", "name a key as `gateway limits top` lists it, or --route and --client"},
		{[]string{"show", "--route", "login"}, 2, "", "or --route and --client"},
		{[]string{"show", "--route", "logout", "--client", "203.0.113.7"}, 2, "", `the policy has no route "logout"`},
		{[]string{"show", "--route", "keyed", "--client", "203.0.113.7"}, 2, "", `no limit of route "keyed" counts by client address`},
		{[]string{"show", "--route", "login", "--client", "me"}, 1, "", `"me" is no`},
		{[]string{"show", "logout|11:203.0.113.7"}, 1, "", `no such limit`},
		{[]string{"reset", "login|3:x"}, 1, "", "Bad Request"},
		{[]string{"drop"}, 2, "", "unknown command"},
		{[]string{"top", "x"}, 2, "", "unknown command"},
	} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"limits"}, tc.args...)
		if tc.args[0] != "drop" {
			args = append(args, "--config", config, "--admin", strings.TrimPrefix(g.admin, "http://"))
		}
		code := execute(args, &stdout, &stderr)
		if code != tc.code || !regexp.MustCompile(tc.stdout).Match(stdout.Bytes()) || tc.stdout == "" && stdout.Len() > 0 || !strings.Contains(stderr.String(), tc.stderr) {
			t.Errorf("%v: %d %q %q, want %d %q %q", tc.args, code, stdout.String(), stderr.String(), tc.code, tc.stdout, tc.stderr)
		}
	}
}

// Limits of two gateways, with Redis, without it, and with it again.
func TestLimitVerbsThroughAnOutage(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	f := startPurgeFleet(t, server.URL)
	use := func(g *gatewayProcess, until int) (n int) {
		for n < 20 && g.get("/login").StatusCode != until {
			n++
		}
		return n
	}
	const key = `login\|9:127\.0\.0\.1`
	of := []string{"--route", "login", "--client", "127.0.0.1"}
	if n := use(f.b, http.StatusTooManyRequests); n != 10 {
		t.Errorf("%d requests of 10 were admitted", n)
	}
	f.a.get("/login")
	f.prints(0, `^`+key+`\n  all gateways: 0 left, whole in`, "limits show", of...)
	f.prints(0, `\n1 +1 +`+key+`\n`, "limits top")
	f.prints(0, `^`+key+` is whole on all gateways within 1s\n$`, "limits reset", of...)
	env.Eventually(t, 5*time.Second, func() error {
		if r := f.b.get("/login"); r.StatusCode != http.StatusOK {
			return fmt.Errorf("on the other gateway after the reset: %s", r.Status)
		}
		return nil
	})

	server.Kill()
	f.awaitHealth("degraded\n")
	use(f.a, http.StatusTooManyRequests)
	f.prints(0, `^`+key+`\n  this gateway: whole in \d`, "limits show", of...)
	f.prints(0, `^`+key+` is whole on this gateway alone: redis is unavailable, or there is none\n$`, "limits reset", of...)
	if r := f.a.get("/login"); r.StatusCode != http.StatusOK {
		t.Errorf("after the reset without Redis: %s", r.Status)
	}
	f.prints(0, key, "limits top")

	server.Restart(true)
	f.awaitHealth("ok\n")
	f.prints(0, `^`+key+`\n  all gateways: \d+ left, whole in`, "limits show", of...)
	f.prints(0, `^`+key+` is whole on all gateways within 1s\n$`, "limits reset", of...)
	f.prints(0, `^`+key+`\n  all gateways: 10 left, whole in 0s\n$`, "limits show", of...)
}
