package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

// startDemo serves the demo and returns the command lines that it prints.
func startDemo(t *testing.T, flags ...string) (g *gatewayProcess, lines []string) {
	t.Helper()
	return startDemoWith(t, "", flags...)
}

// startDemoWith is startDemo with a Redis.
func startDemoWith(t *testing.T, redisURL string, flags ...string) (g *gatewayProcess, lines []string) {
	t.Helper()
	g = launch(t, []string{"REDIS_URL=" + redisURL}, append([]string{"demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, flags...)...)
	g.stdout.await(t, "The access log follows.")
	addresses := regexp.MustCompile(`gateway demo: (\S+) \(admin: (\S+)\)`).FindStringSubmatch(g.stdout.String())
	if addresses == nil {
		t.Fatalf("no addresses in:\n%s", g.stdout.String())
	}
	g.base, g.admin = addresses[1], addresses[2]
	for line := range strings.Lines(g.stdout.String()) {
		if strings.HasPrefix(line, "  curl ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return g, lines
}

// shell runs a command line in a folder, as a user would.
func shell(t *testing.T, dir, line string) string {
	t.Helper()
	cmd := exec.Command("bash", "-o", "pipefail", "-c", line)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return strings.ReplaceAll(string(out), "\r", "")
}

// The lines that the demo prints, typed as they are. They name files of the machine that it runs on.
func TestDemoLines(t *testing.T) {
	t.Parallel()
	_, lines := startDemo(t)
	if len(lines) != 7 {
		t.Fatalf("%d lines worth trying, want 7", len(lines))
	}
	dir := t.TempDir()
	for _, step := range []struct {
		line int
		want string
	}{
		{0, `Cache-Status: edge; fwd=uri-miss; fwd-status=200; stored`},
		{0, `Cache-Status: edge; hit; ttl=`},
		{1, `Set-Cookie: gw=`},
		{2, strings.Repeat("401\n", 9) + strings.Repeat("429\n", 3)},
		{3, `the path holds an encoded slash`},
		{4, "ok\n[+] policy: "},
		{5, `"hits": 0.5`},
		{6, `"applied": true`},
		{0, `Cache-Status: edge; fwd=uri-miss`},
	} {
		if got := shell(t, dir, lines[step.line]); !strings.Contains(got, step.want) {
			t.Errorf("%s printed\n%s\nwithout %q", lines[step.line], got, step.want)
		}
	}
}

// What varies from run to run is masked on both sides.
var masks = []struct{ pattern, mask string }{
	{`ttl=\d+`, "ttl=N"},
	{`dur=[0-9.]+`, "dur=N"},
	{`(?:Max-)?Age([:=] ?)\d+`, "Age${1}N"},
	{`t=\d+`, "t=N"},
	{`Retry-After: \d+`, "Retry-After: N"},
	{`X-Ratelimit-Reset: \d+`, "X-Ratelimit-Reset: N"},
	{`whole in \S+`, "whole in N"},
	{`Content-Length: \d{6}`, "Content-Length: N"},
	{`"} \d+`, `"} N`}, // a metric
	{`purge [a-z0-9]{16}`, `purge ID`},
	{`127\.0\.0\.1:\d+`, `ADDRESS`},
	{`\d+\.\d/s, p50 \S+ ms, p99 \S+ ms`, `RATE`},
	{`in the last \S+`, `in the last N`},
	{`again after \d+ s`, `again after N s`},
	{`admits it in \S+;`, `admits it in N;`},
	{`\S*gateway\.yaml [0-9a-f]{12}\b`, `gateway.yaml DIGEST`},
	{`(gateway  +)\S+, ok`, `${1}VERSION, ok`},
	{`(age|fresh for)  +\S+`, `$1  N`},
	{`\d+ B\b`, `N B`},
	{`(\S)  +`, `$1  `}, // the width of a column
	{`\b[0-9a-f]{64}\b`, `WHOLE-ID`},
	{`\b[0-9a-f]{16}\b`, `SESSION`},
	{`20\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ?`, `TIME`},
}

func masked(s string) string {
	for _, m := range masks {
		s = regexp.MustCompile(m.pattern).ReplaceAllString(s, m.mask)
	}
	return s
}

// The README's first five minutes, typed into a shell after the lines that the demo
// prints were tried.
func TestReadme(t *testing.T) {
	t.Parallel()
	readme := document(t, "../README.md")
	g, worthTrying := startDemo(t)
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	demoPolicy, err := filepath.Abs("../../internal/demo/demo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	vegeta := installed(t, "github.com/tsenart/vegeta/v12")
	here := strings.NewReplacer("http://localhost:8080", g.base, "http://127.0.0.1:9901", g.admin, "http://127.0.0.1:5000", g.base, "bin/gateway", program,
		"internal/demo/demo.yaml", demoPolicy, "vegeta attack", vegeta+" attack", "vegeta report", vegeta+" report")
	for _, line := range worthTrying {
		shell(t, dir, line)
	}
	commands := 0
	for _, block := range consoles(readme) {
		commands += typed(t, block, func(line string) string { return shell(t, dir, here.Replace(line)) })
	}
	if commands < 10 {
		t.Errorf("only %d commands found in the README", commands)
	}
}

// installed is the program of a module, in the version that go.mod has of it.
func installed(t *testing.T, module string) (path string) {
	t.Helper()
	version, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	install := exec.CommandContext(t.Context(), "go", "install", module+"@"+strings.TrimSpace(string(version)))
	install.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	made, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(made) != 1 {
		t.Fatal(made, err)
	}
	return made[0]
}

// consoles returns the blocks of commands with their output in a page.
func consoles(page string) (blocks []string) {
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(page, -1) {
		blocks = append(blocks, block[1])
	}
	return blocks
}

// typed types the commands of a block into a shell, expects what the page has, and returns how many
// there are.
func typed(t *testing.T, block string, shell func(line string) string) (commands int) {
	t.Helper()
	for step := range strings.SplitSeq(strings.TrimPrefix(block, "$ "), "\n$ ") {
		line, want, _ := strings.Cut(step, "\n")
		commands++
		got := strings.TrimSpace(masked(shell(line)))
		if want = strings.TrimSpace(masked(want)); got != want {
			t.Errorf("$ %s\nprinted\n%s\nwhere the page has\n%s", line, got, want)
		}
	}
	return commands
}

// The commands of docs/admin.md, against one of two gateways; Redis is gone for the last block.
func TestAdminPage(t *testing.T) {
	t.Parallel()
	page := document(t, "admin.md")
	server := env.Redis(t)
	f := startPurgeFleet(t, server.URL)
	for _, path := range []string{"/auth/login", "/list", "/list", "/item/7", "/item/7"} {
		f.a.get(path)
	}
	var ids struct{ Sessions []struct{ ID string } }
	if res := f.a.get(f.a.admin + "/v1/sessions?user=42"); json.Unmarshal([]byte(res.body), &ids) != nil || len(ids.Sessions) != 1 {
		t.Fatalf("%s\n%s", res.Status, res.body)
	}
	blocks := consoles(page)
	for i, block := range blocks {
		if i == len(blocks)-1 {
			server.Kill()
			f.a.stderr.await(t, "redis is unavailable")
		}
		typed(t, block, func(line string) string {
			var stdout, stderr bytes.Buffer
			line = strings.ReplaceAll(line, "8c41f0b2d95e7a36", ids.Sessions[0].ID[:16])
			args := append(strings.Fields(line)[1:], "--config", f.policy, "--admin", strings.TrimPrefix(f.a.admin, "http://"))
			if code := execute(args, &stdout, &stderr); code != 0 {
				t.Errorf("$ %s: exit status %d, %s", line, code, stderr.String())
			}
			return stdout.String()
		})
	}
}

// Every policy in the documentation is valid.
func TestPoliciesInDocs(t *testing.T) {
	t.Parallel()
	found := 0
	for name, text := range documents(t) {
		for _, block := range regexp.MustCompile("(?s)```ya?ml\n(.*?)```").FindAllStringSubmatch(text, -1) {
			found++
			if _, err := policy.Parse(filepath.Base(name), []byte(block[1]), nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if found == 0 {
		t.Error("no policy found")
	}
}

// The README shows how a mistake in its policy is reported.
func TestMistakeInReadme(t *testing.T) {
	t.Parallel()
	readme := document(t, "../README.md")
	text := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(readme)[1]
	_, err := policy.Parse("gateway.yaml", []byte(strings.Replace(text, "burst", "burts", 1)), nil)
	if err == nil || !strings.Contains(readme, "`"+err.Error()+"`") {
		t.Errorf("the README lacks the message %v", err)
	}
}

// The order of the layers in docs/how-it-works/architecture.md is that of the chain.
func TestRequestPathInDocs(t *testing.T) {
	t.Parallel()
	text := document(t, "how-it-works/architecture.md")
	var names []string
	for _, l := range new(chain).layers() {
		names = append(names, l.name)
	}
	want := "<!-- request path: begin -->\n" + strings.Join(append(names, "proxy"), " → ") + "\n<!-- end -->"
	if !strings.Contains(text, want) {
		t.Errorf("docs/how-it-works/architecture.md lacks:\n%s", want)
	}
}

// up serves a backend that it is pointed to.
func TestUp(t *testing.T) {
	t.Parallel()
	demo, _ := startDemo(t)
	g := start(t, nil, "up", "--to", demo.base)
	a := g.get("/api/v5/auth/.well-known/jwks.json")
	if a.StatusCode != 200 || !strings.Contains(a.Header.Get("Cache-Control"), "max-age=300") {
		t.Fatalf("%s %v", a.Status, a.Header)
	}
	env.Eventually(t, env.Patience, func() error {
		if a := g.get("/api/v5/auth/.well-known/jwks.json"); !strings.Contains(cacheStatus(a), "edge; hit") {
			return fmt.Errorf("Cache-Status %q", cacheStatus(a))
		}
		return nil
	})
}
