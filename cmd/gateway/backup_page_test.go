package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jewgo/gateway/test/env"
)

const backupPolicy = `
version: 1
server: {data_dir: ./%[1]s, hosts: [127.0.0.1], timeouts: {read_header: 30s}}
redis: {url: "redis://127.0.0.1:%[2]s", budget: 2s}
session: {cookie: {name: gw, secure: false}, keys_file: ./data/session.keys, identity: {keys_file: ./data/identity.keys}}
upstreams: {app: {targets: [%[3]q], concurrency: {wait: 30s}}}
limits: {few: {key: session.user, rate: 10/day}}
routes:
  - {name: login, match: {path: "/login/{user}"}, upstream: app, session: optional, session_signal: true}
  - {name: logout, match: {path: /logout}, upstream: app, session: optional, session_signal: true}
  - {name: me, match: {path: /me}, upstream: app, session: required}
  - {name: few, match: {path: /few}, upstream: app, session: required, limits: [few]}
  - {name: item, match: {path: /item}, upstream: app, cache: {ttl: 1h, tags: [item]}}
`

// A backup is taken and restored by the commands of docs/operations.md, under two gateways: nobody who had logged out
// is signed in again, no limit gives its tokens twice, and nothing that was purged is served, not even by a gateway
// that starts afterwards.
func TestRestoreOfABackup(t *testing.T) {
	t.Parallel()
	var version atomic.Int64
	version.Store(1)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch user, ok := strings.CutPrefix(r.URL.Path, "/login/"); {
		case ok:
			w.Header().Set("X-Gw-Session", fmt.Sprintf(`login {"user":%q}`, user))
		case r.URL.Path == "/logout":
			w.Header().Set("X-Gw-Session", "logout")
		case r.URL.Path == "/item":
			_, _ = fmt.Fprint(w, version.Load())
		default:
			_, _ = io.WriteString(w, "you")
		}
	}))
	t.Cleanup(upstream.Close)
	dir, port := t.TempDir(), env.FreePort(t)
	for _, name := range []string{"data", "other", "late"} {
		writePolicy(t, filepath.Join(dir, name+".yaml"), fmt.Sprintf(backupPolicy, name, port, upstream.URL))
	}
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(document(t, "operations.md"), "\n## Backups\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := consoles(section)
	if len(blocks) != 3 {
		t.Fatalf("%d blocks of commands", len(blocks))
	}
	admin := ""
	enter := func(block string) {
		t.Helper()
		typed(t, block, func(line string) string {
			return shell(t, dir, strings.NewReplacer("6379", port, "gateway status", program+" status --admin "+admin).Replace(line))
		})
	}
	t.Cleanup(func() {
		text, _ := os.ReadFile(filepath.Join(dir, "redis", "redis.pid"))
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	enter(blocks[0])
	run := func(name string) *gatewayProcess {
		g := start(t, nil, "run", "--config", filepath.Join(dir, name+".yaml"))
		g.stderr.await(t, "redis is in use")
		return g
	}
	a := run("data")
	b := run("other")
	admin = strings.TrimPrefix(a.admin, "http://")
	login := func(g *gatewayProcess, user string) string { return "gw=" + g.get("/login/" + user).Cookies()[0].Value }
	anna, ben := login(a, "anna"), login(b, "ben")
	for range 3 { // 3 of 10
		a.get("/few", "Cookie", ben)
	}
	a.get("/item")
	enter(blocks[1])

	// What the backup does not know.
	a.get("/logout", "Cookie", anna)
	clara := login(b, "clara")
	admitted := 3
	for range 4 {
		for _, g := range []*gatewayProcess{a, b} {
			if g.get("/few", "Cookie", ben).StatusCode == http.StatusOK {
				admitted++
			}
		}
	}
	version.Store(2)
	var out output
	if code := execute([]string{"purge", "--tag", "item", "--wait", "--config", filepath.Join(dir, "data.yaml"), "--admin", admin}, &out, &out); code != 0 {
		t.Fatal(out.String())
	}
	version.Store(3)
	if got := b.get("/item").body; got != "3" {
		t.Fatalf("after the purge: %q", got)
	}

	enter(blocks[2])
	for _, g := range []*gatewayProcess{a, b} {
		g.stderr.await(t, "redis is unavailable")
		env.Eventually(t, env.Patience, func() error {
			if r := g.get(g.admin + "/readyz?verbose"); !regexp.MustCompile(`redis: up`).MatchString(r.body) {
				return fmt.Errorf("%s", r.body)
			}
			return nil
		})
	}
	late := run("late")
	for name, g := range map[string]*gatewayProcess{"a": a, "b": b, "late": late} {
		for user, want := range map[string]int{anna: http.StatusUnauthorized, ben: http.StatusOK, clara: http.StatusOK} {
			if r := g.get("/me", "Cookie", user); r.StatusCode != want {
				t.Errorf("%s: /me is %s, want %d", name, r.Status, want)
			}
		}
		if got := g.get("/item").body; got != "3" {
			t.Errorf("%s: /item is %q, as before the purge", name, got)
		}
		for range 4 {
			if g.get("/few", "Cookie", ben).StatusCode == http.StatusOK {
				admitted++
			}
		}
	}
	if admitted != 10 {
		t.Errorf("%d requests of one user were admitted, of 10 a day", admitted)
	}
}
