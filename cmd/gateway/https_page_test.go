package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/acme"
	"github.com/jewgo/gateway/test/env"
)

// httpsPage is the machine of docs/https.md: its names, ports and files are others here.
type httpsPage struct {
	*testing.T
	dir, https, plain string
	policy, shown     *strings.Replacer // from the page to here; output from here to the page
	trusts            string            // a file of CAs
	g                 *gatewayProcess
}

// shell types a line of the page.
func (p *httpsPage) shell(line string) string {
	path, err := binary()
	if err != nil {
		p.Fatal(err)
	}
	curl := "curl --max-time 20 --cacert " + p.trusts
	for _, host := range []string{"api.example.org", "www.example.org"} {
		curl += " --connect-to " + host + ":443:" + p.https + " --connect-to " + host + ":80:" + p.plain
	}
	line = strings.NewReplacer("$ ", "", "http://127.0.0.1:9901", p.g.admin, "http://127.0.0.1:8080", "http://"+p.https).Replace(line)
	line = regexp.MustCompile(`^(curl|gateway|redis-cli) `).ReplaceAllStringFunc(line, func(word string) string {
		return map[string]string{"curl ": curl + " ", "gateway ": path + " ", "redis-cli ": p.policy.Replace("redis-cli -u redis://127.0.0.1:6379 ")}[word]
	})
	return p.shown.Replace(shell(p.T, p.dir, line))
}

// The commands of docs/https.md: each policy of the page is served, with its commands after it.
func TestHTTPSPage(t *testing.T) {
	t.Parallel()
	page := document(t, "https.md")
	backend := demoBackend(t)
	redis := env.Redis(t)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```.*?```console\n(.*?)```").FindAllStringSubmatch(page, -1)
	commands := 0
	for _, block := range blocks {
		p := &httpsPage{T: t, dir: t.TempDir(), https: fixedAddr(t), plain: fixedAddr(t)}
		server := acme.Start(t, acme.Config{HTTPPort: portOf(p.plain), TLSPort: portOf(p.https)})
		ca := env.NewCA(t)
		p.policy = strings.NewReplacer(
			`["0.0.0.0:443", "[::]:443"]`, `"`+p.https+`"`, `":443"`, `"`+p.https+`"`, "127.0.0.1:8080", p.https, `":80"`, `"`+p.plain+`"`,
			"http://127.0.0.1:5000", backend, "redis://127.0.0.1:6379", redis.URL, "/etc/gateway", p.dir,
			"email: ops@example.org}", `email: ops@example.org, directory: "`+server.Directory+`", ca_file: "`+server.CAFile+`"}`,
		)
		p.shown = strings.NewReplacer(":"+p.https[len("127.0.0.1:"):], "", p.dir, "/etc/gateway")
		p.trusts = ca.File
		if strings.Contains(block[1], "acme") {
			p.trusts = server.RootsFile()
		}
		for _, name := range []string{"api", "www"} {
			files := ca.Issue(t, name+".example.org")
			writeOver(t, filepath.Join(p.dir, name+".pem"), files.Cert)
			writeOver(t, filepath.Join(p.dir, name+".key"), files.Key)
		}
		file := filepath.Join(p.dir, "gateway.yaml")
		writePolicy(t, file, p.policy.Replace(block[1]))
		p.g = launch(t, nil, "run", "--config", file, "--admin", "127.0.0.1:0")
		p.g.serving()
		env.Eventually(t, 30*time.Second, func() error {
			if strings.Contains(block[1], "acme") {
				res, err := named(server, p.https).Get("https://api.example.org/healthz")
				if err != nil {
					return err
				}
				return res.Body.Close()
			}
			return nil
		})
		commands += typed(t, block[2], p.shell)
	}
	if len(blocks) != 5 || commands != 15 {
		t.Errorf("%d policies and %d commands were tried", len(blocks), commands)
	}
}
