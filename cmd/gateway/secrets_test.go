package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

// hidden are texts that no output may show.
type hidden map[string]string // by what they are

func (h hidden) check(t *testing.T, where, text string) {
	t.Helper()
	for what, secret := range h {
		if secret == "" {
			t.Fatalf("no %s to look for", what)
		}
		if strings.Contains(text, secret) {
			t.Errorf("%s shows the %s:\n%.2000s", where, what, text)
		}
	}
}

func secretFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return file
}

// A gateway with secrets of every kind, whose Redis at first refuses the password, tells none of them.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	redis := env.Redis(t, "--requirepass", "right")
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cut" {
			panic(http.ErrAbortHandler)
		}
		tells(w, r)
	}))
	t.Cleanup(upstream.Close)
	ca := env.NewCA(t)
	files := ca.Issue(t, "127.0.0.1")
	dir := t.TempDir()
	file := filepath.Join(dir, "gateway.yaml")
	writePolicy(t, file, fmt.Sprintf(`
version: 1
server:
  data_dir: ./data
  tls: {certificates: [{cert_file: %q, key_file: %q}]}
redis: {url: "${REDIS_URL}"}
upstreams: {app: {targets: [%q]}}
routes: [{name: all, match: {path: "/{rest...}"}, upstream: app, session: optional}]
`, files.Cert, files.Key, upstream.URL))
	url := "redis://:pass-of-redis@" + redis.Addr
	g := launch(t, []string{"REDIS_URL_FILE=" + secretFile(t, url+"\n", 0o640)}, "run", "--config", file, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	g.serving()
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	_, sessionKey, _ := strings.Cut(strings.TrimSpace(read(filepath.Join(dir, "data", "session.keys"))), ":")
	_, identityKey, _ := strings.Cut(strings.TrimSpace(read(filepath.Join(dir, "data", "identity.keys"))), ":")
	token := strings.TrimSpace(read(filepath.Join(dir, "data", "admin.token")))
	secrets := hidden{
		"Redis password": "pass-of-redis", "session key": sessionKey, "identity key": identityKey, "admin token": token,
		"TLS key": strings.Split(read(files.Key), "\n")[1], "session cookie": "cookie-of-a-user", "authorization": "bearer-of-a-user",
	}
	c := httpsClient(g, ca, true)
	for _, path := range []string{"/", "/x%2Fy"} {
		getBy(t, c, g.base+path, "Cookie", "__Host-gw=cookie-of-a-user", "Authorization", "Bearer bearer-of-a-user")
	}
	_, _ = c.Get(g.base + "/cut")
	env.Until(t, "Redis refuses the password", func() bool {
		return strings.Contains(g.do("GET", g.admin+"/readyz?verbose", "").body, "WRONGPASS")
	})
	for _, page := range []string{"/readyz?verbose", "/metrics", "/v1/config", "/v1/redis", "/v1/upstreams", "/v1/cache", "/v1/limits", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2"} {
		a := g.do("GET", g.admin+page, "", "Authorization", "Bearer "+token)
		if a.StatusCode != 200 {
			t.Errorf("%s: %s", page, a.Status)
		}
		secrets.check(t, page, a.body)
	}
	if a := g.do("POST", g.admin+"/v1/purges", `{"all":true}`, "Authorization", "Bearer wrong"); a.StatusCode != 401 {
		t.Errorf("a wrong token: %s", a.Status)
	}
	check := command(t, "validate", file)
	check.Env = append(os.Environ(), "REDIS_URL="+url)
	out, err := check.CombinedOutput()
	if err != nil {
		t.Errorf("validate: %v\n%s", err, out)
	}
	secrets.check(t, "validate", string(out))
	g.signal(15)
	g.wait(20 * time.Second)
	secrets.check(t, "standard error", g.stderr.String())
	secrets.check(t, "standard output", g.stdout.String())
}

func TestSecretsInFilesOfTheEnvironment(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	writePolicy(t, file, fmt.Sprintf(smallPolicy, "http://127.0.0.1:1")+"redis: {url: \"${REDIS_URL:-}\"}\n")
	secrets := hidden{"password": "pass-of-redis"}
	for _, c := range []struct {
		why  string
		vars []string
		want string
		code int
	}{
		{"a good one", []string{"REDIS_URL_FILE=" + secretFile(t, "redis://:pass-of-redis@h:1\n", 0o600)}, "valid", 0},
		{"a bad URL", []string{"REDIS_URL_FILE=" + secretFile(t, "redis://:pass-of-redis/@h:1\n", 0o600)}, "special characters", 1},
		{"others may read it", []string{"REDIS_URL_FILE=" + secretFile(t, "redis://:pass-of-redis@h:1", 0o644)}, "REDIS_URL_FILE: ", 2},
		{"it is not there", []string{"REDIS_URL_FILE=/none"}, "REDIS_URL_FILE: open /none", 2},
		{"both", []string{"REDIS_URL=redis://:pass-of-redis@h:1", "REDIS_URL_FILE=/none"}, "REDIS_URL and REDIS_URL_FILE are both set", 2},
	} {
		cmd := command(t, "validate", file)
		cmd.Env = append(os.Environ(), c.vars...)
		out, _ := cmd.CombinedOutput() // the exit status tells
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: exit status %d, said: %s", c.why, code, out)
		}
		secrets.check(t, c.why, string(out))
	}
}

// Whoever prints a policy, in a panic or a log line, does not print its secrets.
func TestAPrintedPolicyHidesItsSecrets(t *testing.T) {
	t.Parallel()
	s, err := policy.Parse("a.yaml", []byte("version: 1\nredis: {url: \"redis://:pass-of-redis@h\"}\ncache: {redis_url: \"redis://:pass-of-cache@h\"}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	secrets := hidden{"password": "pass-of-redis", "cache's password": "pass-of-cache"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Error("x", "policy", s.Policy, "url", s.Policy.Redis.URL)
	slog.New(slog.NewTextHandler(&log, nil)).Error("x", "policy", *s.Policy, "url", s.Policy.Redis.URL)
	text, err := json.Marshal(s.Policy)
	if err != nil {
		t.Fatal(err)
	}
	secrets.check(t, "it", log.String()+string(text)+fmt.Sprintf("%v %+v %#v %s %q %x", *s.Policy, *s.Policy, *s.Policy, s.Policy.Redis.URL, s.Policy.Redis.URL, s.Policy.Redis.URL))
	if s.Policy.Redis.URL.Reveal() != "redis://:pass-of-redis@h" {
		t.Error("the gateway itself does not see it")
	}
}
