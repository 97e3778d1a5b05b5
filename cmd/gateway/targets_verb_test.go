package main

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

const targetsPolicy = `
version: 1
server: {data_dir: ./data, trusted_proxies: [127.0.0.1/32], timeouts: {read_header: 30s}}
upstreams: {app: {targets: [%q], concurrency: {wait: 30s}}}
limits: {few: {key: client_ip, rate: 6/min, burst: 20}}
routes:
  - {name: list, match: {methods: [GET], path: /list}, upstream: app, cache: {ttl: 1h}}
  - {name: item, match: {path: "/item/{id}"}, upstream: app, limits: [few], cache: {ttl: 1s, stale_while_revalidate: 1m}}
  - {name: mine, match: {path: "/mine/{$}"}, upstream: app, session: required}
  - {name: debug, match: {path: "/debug/"}, deny: 404}
  - {name: write, match: {methods: [POST], path: /write}, upstream: app}
`

// An attack of vegeta on the targets gives what their first line says.
func TestTargetsAttack(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/json") }))
	t.Cleanup(upstream.Close)
	for _, clients := range []string{"1", "30"} {
		here, there := policyFolder(t)
		writePolicy(t, filepath.Join(here, "gateway.yaml"), fmt.Sprintf(targetsPolicy, upstream.URL))
		own(t, here)
		g := start(t, nil, "run", "--config", filepath.Join(there, "gateway.yaml"))
		var out, errs bytes.Buffer
		args := []string{"targets", "--config", filepath.Join(here, "gateway.yaml"), "--to", g.base, "--rate", "100", "--duration", "2s", "--clients", clients, "--value", "id=a,b c"}
		if code := execute(args, &out, &errs); code != 0 {
			t.Fatal(errs.String())
		}
		said := out.String()
		if !strings.Contains(said, "/item/b%20c\n") || strings.Contains(said, "/write") || !strings.Contains(said, "# no targets of write: they take no GET\n") {
			t.Errorf("targets:\n%s", said)
		}
		expected := map[string]float64{}
		for _, m := range regexp.MustCompile(`([\d.]+)% (\d{3}|hits)`).FindAllStringSubmatch(strings.SplitN(said, "\n", 2)[0], -1) {
			expected[m[2]], _ = strconv.ParseFloat(m[1], 64)
		}
		targets, err := vegeta.ReadAllTargets(vegeta.NewHTTPTargeter(strings.NewReader(said), nil, nil))
		if err != nil {
			t.Fatal(err)
		}
		got, cached, n := map[string]float64{}, 0, 0
		for r := range vegeta.NewAttacker().Attack(vegeta.NewStaticTargeter(targets...), vegeta.ConstantPacer{Freq: 100, Per: time.Second}, 2*time.Second, "") {
			n++
			got[fmt.Sprint(r.Code)]++
			if status := r.Headers.Get("Cache-Status"); strings.HasPrefix(status, "edge; hit") || strings.HasPrefix(status, "edge; fwd") {
				cached++
				if strings.HasPrefix(status, "edge; hit") {
					got["hits"]++
				}
			}
		}
		got["hits"] *= float64(n) / float64(max(cached, 1)) // a share of cached, below
		for what, want := range expected {
			if share := 100 * got[what] / float64(n); math.Abs(share-want) > 4 {
				t.Errorf("%s clients: %.1f%% %s, expected %.1f%%: %s", clients, share, what, want, strings.SplitN(said, "\n", 2)[0])
			}
		}
		if len(expected) < 4 {
			t.Errorf("little is expected: %s", said)
		}
	}
}

func TestTargetsMistakes(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	writePolicy(t, file, fmt.Sprintf(targetsPolicy, "http://127.0.0.1:5000"))
	for _, c := range []struct{ want, args string }{
		{`--to "ftp://x": want http://HOST:PORT`, "--to ftp://x"},
		{`the policy has no route "none"`, "--route none"},
		{`--value "id": want NAME=VALUE,VALUE`, "--value id"},
		{`want a rate and a duration of at most 1000000 requests`, "--rate 1000000 --duration 1h"},
		{`want a rate and a duration`, "--rate 0"},
		{`from 1 to 65536 clients`, "--clients 100000"},
		{`there is nothing to ask for: write take no GET`, "--route write"},
		{`--value nope: no path of the policy has {nope}`, "--value nope=1"},
		{`no policy`, "--config /none.yaml"},
	} {
		var out, errs bytes.Buffer
		if code := execute(append([]string{"targets", "--config", file}, strings.Fields(c.args)...), &out, &errs); code == 0 || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%s: %d %s%s, want %s", c.args, code, out.String(), errs.String(), c.want)
		}
	}
}
