package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// twins are two gateways that share session.keys, on fixed addresses.
type twins struct {
	t      *testing.T
	listen [2]string
	admin  [2]string
	config [2]string
	run    [2]*gatewayProcess
	users  []string // cookies that every gateway must accept
}

func (w *twins) start(i int) {
	w.t.Helper()
	w.run[i] = launch(w.t, nil, "run", "--config", w.config[i], "--listen", w.listen[i], "--admin", w.admin[i])
	w.run[i].serving()
}

// restart restarts one after the other. After each, users log in at both, and all are known at both.
func (w *twins) restart() {
	w.t.Helper()
	for i := range w.run {
		w.run[i].signal(syscall.SIGTERM)
		if code := w.run[i].wait(20 * time.Second); code != 0 {
			w.t.Errorf("exit status %d", code)
		}
		w.start(i)
		for _, g := range w.run {
			w.users = append(w.users, g.get("/login").Cookies()[0].String())
		}
		for _, g := range w.run {
			for n, cookie := range w.users {
				if a := g.get("/me", "Cookie", cookie); a.StatusCode != http.StatusOK {
					w.t.Errorf("user %d of %d is logged out: %s", n, len(w.users), a.Status)
				}
			}
		}
	}
}

// The commands of docs/upgrade.md: a policy is reloaded, and session keys change under two gateways, while users who
// logged in at any moment stay so.
func TestUpgradePage(t *testing.T) {
	t.Parallel()
	page := document(t, "upgrade.md")
	backend := httptest.NewServer(http.HandlerFunc(workaday))
	t.Cleanup(backend.Close)
	dir := t.TempDir()
	w := &twins{t: t}
	for i := range w.run {
		w.listen[i], w.admin[i] = fixedAddr(t), fixedAddr(t)
		w.config[i] = restartable(t, backend.URL, filepath.Join(dir, "session.keys"), "0s")
		w.start(i)
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile(`^gateway (\S+)`)
	commands := 0
	for _, block := range consoles(page) {
		commands += typed(t, block, func(line string) string {
			switch {
			case line == "systemctl restart gateway":
				w.restart()
				return ""
			case strings.HasPrefix(line, "sed -i '$d'"):
				w.users = w.users[len(w.users)-1:] // session.absolute is over for those from before step 2
			case strings.HasPrefix(line, "gateway reload"):
				line += " --admin " + strings.TrimPrefix(w.run[1].admin, "http://")
			}
			at := dir
			if program.MatchString(line) {
				at = filepath.Dir(w.config[1])
			}
			return shell(t, at, program.ReplaceAllString(line, path+" $1"))
		})
	}
	if commands != 8 {
		t.Errorf("%d commands were tried", commands)
	}
}
