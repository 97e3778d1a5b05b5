package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
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
	"time"

	"github.com/jewgo/gateway/internal/warm"
	"github.com/jewgo/gateway/test/env"
)

const warmPolicy = `
version: 1
server: {data_dir: ./data, hosts: [localhost, 127.0.0.1], timeouts: {read_header: 30s}}
warm: [/page/1, /page/2, "http://127.0.0.1/other/3"]
upstreams: {app: {targets: [%q], concurrency: {wait: 30s}}}
limits: {few: {key: client_ip, rate: 10/h}}
routes:
  - {name: page, match: {path: "/page/{n}"}, upstream: app, limits: [few], cache: {ttl: 1h}}
  - {name: other, match: {path: "/other/{n}"}, upstream: app, cache: {ttl: 1h}}
  - {name: plain, match: {path: "/plain/{n}"}, upstream: app}
`

// warmRig is a gateway whose cache is warmed, and its upstream.
type warmRig struct {
	*gatewayProcess
	dir   string
	asked atomic.Int64
}

// startWarmRig returns when the policy's URLs have been asked for.
func startWarmRig(t *testing.T) *warmRig {
	rig := &warmRig{}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rig.asked.Add(1)
		if strings.HasSuffix(r.URL.Path, "7") {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprint(w, r.URL.Path)
	}))
	t.Cleanup(upstream.Close)
	here, there := policyFolder(t)
	rig.dir = here
	writePolicy(t, filepath.Join(here, "gateway.yaml"), fmt.Sprintf(warmPolicy, upstream.URL))
	own(t, here)
	rig.gatewayProcess = start(t, nil, "run", "--config", filepath.Join(there, "gateway.yaml"))
	env.Eventually(t, env.Patience, func() error {
		if p := rig.warmed(); !p.Ended || p.Done != 3 || p.Stored != 3 {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	return rig
}

// args are the verb's, for this gateway.
func (rig *warmRig) args(args ...string) []string {
	return append(append([]string{"warm"}, args...), "--admin", strings.TrimPrefix(rig.admin, "http://"),
		"--config", filepath.Join(rig.dir, "gateway.yaml"), "--token-file", filepath.Join(rig.dir, "data", "admin.token"))
}

func (rig *warmRig) verb(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = execute(rig.args(args...), &out, &errs)
	return code, out.String(), errs.String()
}

// cacheRequests is gateway_cache_requests_total by route and outcome.
func (rig *warmRig) cacheRequests() map[string]int {
	counts := map[string]int{}
	for _, m := range regexp.MustCompile(`gateway_cache_requests_total\{outcome="(\w+)",route="(\w+)",tier="\w*"\} (\d+)`).FindAllStringSubmatch(rig.get(rig.admin+"/metrics").body, -1) {
		counts[m[2]+" "+m[1]], _ = strconv.Atoi(m[3])
	}
	return counts
}

// list writes a list of n URLs, of three routes.
func (rig *warmRig) list(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "/%s/%d\n", [...]string{"page", "other", "page", "plain", "none"}[i%5], i)
	}
	file := filepath.Join(rig.dir, "urls")
	writePolicy(rig.t, file, b.String())
	return file
}

// Warming holds its rate, no limit counts it, and its report adds up to the metrics.
func TestWarm(t *testing.T) {
	t.Parallel()
	rig := startWarmRig(t)
	if r := rig.get("/page/2"); !strings.Contains(r.Header.Get("Cache-Status"), "fwd") { // of another host: that of a path is localhost
		t.Errorf("Cache-Status of another host: %s", r.Header.Get("Cache-Status"))
	}
	n := 600
	if text := os.Getenv("GATEWAY_WARM"); text != "" {
		n, _ = strconv.Atoi(text)
	}
	before := rig.cacheRequests()
	code, out, errs := rig.verb("--list", rig.list(n), "--rate", "200", "--json")
	var p warm.Progress
	if err := json.Unmarshal([]byte(out), &p); err != nil || code != 1 || !strings.Contains(errs, "answers were errors") {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	if rate := float64(p.Done) / p.Seconds; p.Done != n || math.Abs(rate-200) > 10 {
		t.Errorf("%d requests at %.1f/s", p.Done, rate)
	}
	after := rig.cacheRequests()
	for route, counts := range p.Routes {
		for outcome, n := range counts.Cache {
			if key := route + " " + outcome; outcome != "" && after[key]-before[key] != n {
				t.Errorf("%s: %d, by the metrics %d", key, n, after[key]-before[key])
			}
		}
	}
	if c := p.Routes["page"]; c.Done != 2*n/5 || c.Stored+c.Hits+c.Errors < c.Done || c.Errors != 0 && p.First["500"] == "" {
		t.Errorf("page: %+v, %v", c, p.First)
	}
	if c := p.Routes[""]; c.Errors != n/5 || p.First["404"] != "/none/4" {
		t.Errorf("without a route: %+v, %v", c, p.First)
	}

	// A second time all is there.
	code, out, errs = rig.verb("--list", rig.list(200), "--rate", "2000", "--report")
	if want := regexp.MustCompile(`(?s)^200 of 200 URLs in .*\nother +40 +40 +0 +0 +-\npage +80 +60 +0 +20 +-\n.*\nroute, last hour +hits of clients +fills +stored +stale +median age +median lifetime\npage +0.0% of 1 +1 +\d+ +0 .*1h0m0s\n`); code != 1 || !want.MatchString(out) {
		t.Errorf("%d %s%s", code, out, errs)
	}
}

// warmed is the progress of the last run.
func (rig *warmRig) warmed() (p warm.Progress) {
	_ = json.Unmarshal([]byte(rig.get(rig.admin+"/v1/warm").body), &p) // else it has not begun
	return p
}

// INT stops it, and what is printed then is what was done.
func TestWarmStops(t *testing.T) {
	t.Parallel()
	rig := startWarmRig(t)
	asked, before := rig.asked.Load(), rig.cacheRequests()
	cmd := command(t, rig.args("--list", rig.list(5000), "--rate", "100")...)
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	env.Eventually(t, env.Patience, func() error {
		if n := rig.asked.Load() - asked; n < 50 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	// Nobody else may start one meanwhile.
	if code, _, errs := rig.verb("/page/1"); code != 1 || !strings.Contains(errs, "a run is in progress") {
		t.Errorf("a second run: %d %s", code, errs)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("after INT: %v\n%s", err, out.String())
	}
	asked = rig.asked.Load()
	p := rig.warmed()
	if !p.Stopped || !p.Ended || !strings.Contains(out.String(), fmt.Sprintf("stopped: %d of 5000 URLs were asked for", p.Done)) {
		t.Errorf("%+v\n%s", p, out.String())
	}
	after, cached := rig.cacheRequests(), 0
	for key, n := range after {
		cached += n - before[key]
	}
	said := 0
	for outcome, n := range p.Cache {
		if outcome != "" {
			said += n
		}
	}
	if said != cached {
		t.Errorf("%d requests of cached routes, by the metrics %d", said, cached)
	}
	time.Sleep(300 * time.Millisecond)
	if n := rig.asked.Load(); n != asked {
		t.Errorf("%d requests after the end", n-asked)
	}
	// It also stops with the gateway.
	go func() { _, _, _ = rig.verb("--list", rig.list(5000), "--rate", "100") }() // ends with the gateway
	env.Eventually(t, env.Patience, func() error {
		if p := rig.warmed(); p.Ended {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	if code, out, errs := rig.verb("--stop"); code != 0 || !strings.Contains(out, " of 5000 URLs") || !rig.warmed().Stopped {
		t.Errorf("--stop: %d %s%s", code, out, errs)
	}
	go func() { _, _, _ = rig.verb("--list", rig.list(5000), "--rate", "100") }() // as before
	env.Eventually(t, env.Patience, func() error {
		if p := rig.warmed(); p.Ended {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	rig.signal(syscall.SIGTERM)
	if code := rig.wait(env.Patience); code != 0 {
		t.Errorf("the gateway ended with %d", code)
	}
}

// A purge of everything is followed by the policy's URLs, and a purge of anything else is not.
func TestWarmAfterAPurgeOfAll(t *testing.T) {
	t.Parallel()
	rig := startWarmRig(t)
	for _, c := range []struct {
		what []string
		want int64
	}{{[]string{"--route", "page"}, 3}, {[]string{"--all", "--yes"}, 6}} {
		var out bytes.Buffer
		args := append([]string{"purge"}, c.what...)
		if code := execute(append(args, rig.args()[1:]...), &out, &out); code != 0 {
			t.Fatal(out.String())
		}
		time.Sleep(2 * purgeLook)
		env.Eventually(t, env.Patience, func() error {
			if n := rig.asked.Load(); n != c.want {
				return fmt.Errorf("after a purge of %v: %d requests, want %d", c.what, n, c.want)
			}
			return nil
		})
	}
}

func TestWarmSourcesAndMistakes(t *testing.T) {
	t.Parallel()
	rig := startWarmRig(t)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/index.xml":
			_, _ = fmt.Fprintf(w, "<sitemapindex><sitemap><loc>http://%s/a.xml</loc></sitemap></sitemapindex>", r.Host)
		case "/files.xml":
			_, _ = fmt.Fprintf(w, "<sitemapindex><sitemap><loc>%s</loc></sitemap></sitemapindex>", filepath.Join(rig.dir, "own.xml"))
		case "/a.xml":
			_, _ = fmt.Fprint(w, "<urlset><url><loc>http://localhost/page/1</loc></url><url><loc>http://localhost/other/9</loc></url></urlset>")
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(site.Close)
	file := func(name, text string) string {
		path := filepath.Join(rig.dir, name)
		writePolicy(t, path, text)
		return path
	}
	zipped := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, text)
		_ = z.Close() // a Buffer takes everything
		return file("list.gz", b.String())
	}
	log := file("access.log", `{"method":"GET","host":"localhost","uri":"/page/1","status":200}
{"method":"GET","host":"localhost","uri":"/page/1","status":200}
{"method":"GET","host":"localhost","uri":"/page/2","status":200}
`)
	file("own.xml", "<urlset><url><loc>http://localhost/page/1</loc></url></urlset>")
	for _, c := range []struct {
		says string
		args []string
		code int
		want string
	}{
		{"the command line", []string{"/page/1", "/other/4"}, 0, `^2 of 2 URLs in \S+ s\nroute +requests +hits +stored +errors +not stored, since\nother +1 +0 +1 +0 +-\npage +1 +1 +0 +0 +-\n$`},
		{"the policy", nil, 0, `^3 of 3 URLs`},
		{"a sitemap", []string{"--sitemap", site.URL + "/a.xml"}, 0, `^2 of 2 URLs`},
		{"an index of sitemaps", []string{"--sitemap", site.URL + "/index.xml"}, 0, `^2 of 2 URLs`},
		{"an access log", []string{"--log", log}, 0, `^2 of 2 URLs(.*\n)+page +2 +2 +0 +0 +-\n`},
		{"the most frequent of it", []string{"--log", log, "--most", "1"}, 0, `^1 of 1 URLs`},
		{"an error", []string{"/page/7"}, 1, `page +1 +0 +0 +1 +-\n500 +/page/7\n.*1 of 1 answers were errors`},
		{"what is not cached", []string{"/plain/1"}, 0, `plain +1 +0 +0 +0 +not cached 1\n`},
		{"what is no URL", []string{"page"}, 2, `"page": want a path such as`},
		{"in a list", []string{"--list", file("odd", "page\n")}, 1, `- +1 +0 +0 +1 +-\n400 +page\n`},
		{"a list in gzip", []string{"--list", zipped("/page/1\n/page/2\n")}, 0, `^2 of 2 URLs`},
		{"the last run", []string{"--status"}, 0, `^2 of 2 URLs`},
		{"and too much", []string{"--status", "/page/1"}, 2, `--status and --stop ask for nothing`},
		{"another host", []string{"http://elsewhere.example/page/1"}, 1, `421 +http://elsewhere.example/page/1\n`},
		{"no file", []string{"--list", "/none"}, 2, `--list: open /none: no such file`},
		{"a site that names files of this machine", []string{"--sitemap", site.URL + "/files.xml"}, 2, `own.xml": want an http:// or https:// URL`},
		{"an empty list", []string{"--list", file("empty", "# nothing\n")}, 2, `there is no URL in it`},
		{"no sitemap", []string{"--sitemap", site.URL + "/none.xml"}, 2, `--sitemap: http://.*/none.xml: 404 Not Found`},
		{"a page in place of a sitemap", []string{"--sitemap", file("page.html", "<html></html>")}, 2, `not a sitemap: its root is "html"`},
		{"no log", []string{"--log", file("other.log", "hello\n")}, 2, `not an access log`},
		{"no rate", []string{"/page/1", "--rate", "0"}, 2, `must be positive`},
		{"too high a rate", []string{"/page/1", "--rate", "100000"}, 1, `want a rate of at most 10000 a second`},
		{"too many at once", []string{"/page/1", "--at-once", "1000"}, 1, `at most 256 at once`},
	} {
		code, out, errs := rig.verb(c.args...)
		if code != c.code || !regexp.MustCompile(c.want).MatchString(out+errs) {
			t.Errorf("%s: %d\n%s%swant %s", c.says, code, out, errs, c.want)
		}
	}
	if r := rig.do("POST", rig.admin+"/v1/warm", `{"urls":["/page/1"]}`); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the token: %s", r.Status)
	}
}
