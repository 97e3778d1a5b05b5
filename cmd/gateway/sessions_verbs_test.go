package main

import (
	"bytes"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// sessionsOf runs the verb against a gateway.
func (g *gatewayProcess) sessions(config string, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	args = append(append([]string{"sessions"}, args...), "--config", config, "--admin", strings.TrimPrefix(g.admin, "http://"))
	code = execute(args, &out, &err)
	return code, out.String(), err.String()
}

func TestSessionVerbs(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	a, b := startFleet(t, server.URL)
	config := a.args[2] // of run --config
	if filepath.Ext(config) != ".yaml" {
		t.Fatalf("no policy among %q", a.args)
	}
	cookies := []string{a.begin(t), a.begin(t), b.begin(t)}
	for _, c := range cookies {
		b.wantHome(t, "before", c, http.StatusOK)
	}
	do := func(want int, pattern string, args ...string) string {
		t.Helper()
		code, out, err := a.sessions(config, args...)
		if code != want || !regexp.MustCompile(pattern).MatchString(out+err) {
			t.Errorf("%v: %d %q %q, want %d %q", args, code, out, err, want, pattern)
		}
		for _, c := range cookies {
			if _, secret, _ := strings.Cut(c, "="); strings.Contains(out+err, secret) {
				t.Errorf("%v shows a cookie", args)
			}
		}
		return out
	}
	home := func(when string, want ...int) {
		t.Helper()
		for i, c := range cookies {
			for _, g := range []*gatewayProcess{a, b} {
				env.Eventually(t, 5*time.Second, func() error {
					if r := g.get("/home", "Cookie", c); r.StatusCode != want[i] {
						return &statusError{when, i, r.StatusCode}
					}
					return nil
				})
			}
		}
	}
	list := do(0, `^id +since +ends +roles\n([0-9a-f]{16}  20\d\d-.*\n){3}$`, "list", "--user", "42")
	id := regexp.MustCompile(`(?m)^[0-9a-f]{16}`).FindAllString(list, -1)
	do(0, `^id +[0-9a-f]{64}\nuser +42\nsince +20`, "show", id[2])
	do(0, `^session `+id[2]+`[0-9a-f]{48} ended on all gateways\n$`, "revoke", id[2])
	home("after one", http.StatusUnauthorized, http.StatusOK, http.StatusOK)
	do(1, "no such session", "show", id[2])
	do(0, `^the sessions of 42 ended on all gateways\n$`, "revoke", "--user", "42")
	home("after the user's", 401, 401, 401)
	do(0, `^id +since +ends +roles\n$`, "list", "--user", "42")

	// Without Redis the peers are told, and Redis is when it is back, although it is empty then.
	cookies = []string{a.begin(t), b.begin(t)}
	home("new ones", 200, 200)
	server.Kill()
	a.stderr.await(t, "redis is unavailable")
	here := do(0, `(?s)^id .*redis was not searched, these are the ones that this gateway knows: .*\n$`, "list", "--user", "42")
	known := regexp.MustCompile(`(?m)^[0-9a-f]{16}`).FindAllString(here, -1)
	do(0, `^id +`+known[0]+`[0-9a-f]{48}\nuser +42\n`, "show", known[0])
	do(0, `^session `+known[0]+`[0-9a-f]{48} ended on this gateway and the peers that answer; `, "revoke", known[0])
	do(0, `^all sessions ended on this gateway and the peers that answer; on the others when redis is back\n$`, "revoke", "--all", "--yes")
	home("without Redis", 401, 401)
	server.Restart(true)
	env.Eventually(t, 20*time.Second, func() error {
		if r := b.get(b.admin + "/readyz"); r.body != "ok\n" {
			return &statusError{"ready", 0, r.StatusCode}
		}
		return nil
	})
	home("with Redis again", 401, 401)

	do(2, "say whose: --user", "list")
	do(2, "accepts 1 arg", "show")
	do(1, "shorter than 8 digits", "show", "abc")
	do(1, "no such session", "revoke", "0123456789abcdef")
	do(1, "give one of id, user and all", "revoke")
	do(1, "give one of id, user and all", "revoke", "0123456789abcdef", "--user", "42")
	do(2, "say --yes", "revoke", "--all")
	a.stderr.await(t, `"call":"POST /v1/sessions/revoke","what":"{\"all\":true}"`)
}

type statusError struct {
	when   string
	i, got int
}

func (e *statusError) Error() string {
	return e.when + ": session " + string(rune('0'+e.i)) + " gets " + http.StatusText(e.got)
}
