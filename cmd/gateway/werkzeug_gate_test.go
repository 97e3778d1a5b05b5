package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/proxy"
)

// werkzeugGate is the chain without what reads neither path nor query, in front of an upstream that
// only notes the target.
type werkzeugGate struct {
	handler http.Handler
	seen    decided // of the request in progress
	rules   map[string]*werkzeugRule
}

func newWerkzeugGate(t *testing.T, paths string) *werkzeugGate {
	t.Helper()
	g := &werkzeugGate{rules: map[string]*werkzeugRule{"rest": werkzeugRest}}
	text := "version: 1\nserver: {data_dir: ./data, paths: " + paths + "}\nupstreams: {app: {targets: [\"http://127.0.0.1:1\"]}}\nroutes:\n"
	for _, r := range werkzeugRules {
		text += r.routes()
		for i := range r.patterns() {
			g.rules[fmt.Sprintf("%s-%d", r.name, i)] = r
		}
	}
	snapshot, err := policy.Parse("test.yaml", []byte(text+"  - {name: rest, match: {path: \"/{rest...}\"}, upstream: app}\n"), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	var live policy.Live
	live.Store(snapshot)
	tags := cache.NewTags(cache.TagsConfig{})
	store := &cache.Tiers{Local: memory.NewCache(1<<20, time.Now), Tags: tags, Now: time.Now}
	c := cache.New(cache.Config{Store: store, Tags: tags, Now: time.Now})
	t.Cleanup(c.Close)
	discard := slog.New(slog.DiscardHandler)
	observer := &middleware.Observer{Live: &live, Log: discard, Errors: discard, Metrics: g, Now: time.Now}
	g.handler = middleware.Chain(proxy.New(proxy.Config{Transport: c.Transport(g)}),
		observer.Handler, middleware.Headers, middleware.CORS, middleware.Hygiene("edge (test)"), middleware.Route, c.Handler)
	return g
}

// decide sends one request through the chain. It comes as HTTP/2, where the chain itself checks the
// characters of a target; in HTTP/1 internal/wire does, on the connection.
func (g *werkzeugGate) decide(method, target string) decided {
	g.seen = decided{method: method, target: target}
	u, err := url.ParseRequestURI(target)
	if err != nil { // net/http answers 400
		return g.seen
	}
	r := (&http.Request{
		Method: method, URL: u, Proto: "HTTP/2.0", ProtoMajor: 2, Header: http.Header{}, Body: http.NoBody,
		Host: "app.test", RemoteAddr: "192.0.2.1:1234", RequestURI: target,
	}).WithContext(context.Background())
	g.handler.ServeHTTP(&discarded{header: http.Header{}}, r)
	return g.seen
}

// RoundTrip implements http.RoundTripper. Nothing is stored, so that each request comes here.
func (g *werkzeugGate) RoundTrip(r *http.Request) (*http.Response, error) {
	g.seen.sent = r.URL.RequestURI() // what net/http's Transport writes
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Cache-Control": {"no-store"}}, Body: http.NoBody,
	}, nil
}

// Panic implements middleware.Metrics.
func (g *werkzeugGate) Panic() { panic("the chain panicked at " + g.seen.target) }

// End implements middleware.Metrics. It gets the decisions.
func (g *werkzeugGate) End(ex *exchange.Exchange, _ time.Duration) {
	if ex.Route == nil {
		return
	}
	g.seen.route, g.seen.params, g.seen.rule, g.seen.denied = ex.Route.Name, ex.Params, g.rules[ex.Route.Name], ex.Route.Deny != 0
	if ex.Plan != nil {
		g.seen.key = ex.Plan.Key
	}
}

// reading is what werkzeug makes of a request.
type reading struct {
	endpoint  string // or why there is none, in parentheses
	arguments map[string]string
	query     [][2]string
}

func (r *reading) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&r.endpoint, &r.arguments, &r.query})
}

// werkzeug is a process of testdata/werkzeug/routes.py.
type werkzeug struct {
	in     io.Writer
	out    *bufio.Reader
	errors bytes.Buffer
	ended  func() error // ends it, and waits
}

const installWerkzeug = "apt-get install python3-flask"

func startWerkzeug(t *testing.T) *werkzeug {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal(installWerkzeug)
	}
	cmd := exec.Command(python, filepath.Join("testdata", "werkzeug", "routes.py"))
	w := &werkzeug{}
	cmd.Stderr = &w.errors
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err = cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.in, w.out = in, bufio.NewReader(out)
	w.ended = sync.OnceValue(func() error {
		_ = in.Close() // which ends it
		return cmd.Wait()
	})
	t.Cleanup(func() { _ = w.ended() })
	var rules [][]any
	for _, r := range werkzeugRules {
		rules = append(rules, []any{r.name, r.rule, r.methods, r.slashes})
	}
	w.write(t, rules)
	return w
}

func (w *werkzeug) write(t *testing.T, v any) {
	t.Helper()
	line, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.in.Write(append(line, '\n')) // if it has ended, there is no answer
}

// ask returns the readings of requests: method and target.
func (w *werkzeug) ask(t *testing.T, requests [][2]string) (readings []reading) {
	t.Helper()
	w.write(t, requests)
	line, err := w.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &readings)
	}
	if err != nil || len(readings) != len(requests) {
		t.Fatalf("%d answers to %d requests: %v; werkzeug: %v (%s)\n%s", len(readings), len(requests), err, w.ended(), installWerkzeug, &w.errors)
	}
	return readings
}
