package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/test/env"
)

const explainPolicy = `
version: 1
server: {data_dir: ./data, hosts: [api.example.org, www.example.org], trusted_proxies: [127.0.0.1/32], max_body: 1KiB, timeouts: {read_header: 30s}}
redis: {url: "${REDIS_URL:-}", replicas: 1, budget: 2s}
session: {cookie: {name: gw, secure: false}, offload: [upstream]}
cors: {origins: ["https://app.example.org"]}
upstreams: {app: {targets: ["${UPSTREAM_URL}"], concurrency: {wait: 30s}}}
limits:
  slow: {key: client_ip, rate: 60/h, burst: 30}
  quick: {key: [client_ip, "path:id"], when: anonymous, rate: 600/h, burst: 5, cost: 2}
  users: {key: session.user, rate: 120/h, burst: 60, missing: skip}
  leased: {key: client_ip, rate: 60/h, burst: 200, lease: 10}
  keyed: {key: "header:X-Api-Key", rate: 60/h, burst: 20, missing: deny}
  shadow: {key: client_ip, rate: 1/h, burst: 3, shadow: true}
  flights: {key: client_ip, in_flight: 50}
routes:
  - {name: login, match: {methods: [POST], path: "/login/{user}"}, upstream: app, session: optional, session_signal: true}
  - {name: list, match: {methods: [GET], path: /list}, upstream: app, session: optional, limits: [slow, shadow],
     cache: {ttl: 300s, query: {allow: [page]}, vary: [Accept-Language], tags: [list]}}
  - {name: item, match: {methods: [GET], path: "/item/{id}"}, upstream: app, limits: [quick, leased, flights], cache: {ttl: 1s, stale_if_error: 1h, tags: ["item:{id}"]}}
  - {name: write, match: {methods: [PUT, DELETE], path: "/item/{id}"}, upstream: app, session: optional, limits: [users], invalidates: ["item:{id}", list]}
  - {name: mine, match: {path: /mine}, upstream: app, session: required, limits: [users], cache: {ttl: 60s, key: [session]}}
  - {name: strict, match: {path: "/strict/{what}"}, upstream: app, limits: [leased], cache: {mode: strict, query: {allow: ["*"]}}}
  - {name: keyed, match: {path: /keyed}, upstream: app, limits: [keyed]}
  - {name: beta, match: {path: /beta, header: {X-Beta: "1"}}, upstream: app}
  - {name: www, match: {host: www.example.org, path: "/list"}, upstream: app, cache: {ttl: 5m, bypass: ["header:X-Fresh"]}}
  - {name: debug, match: {path: "/debug/{rest...}"}, deny: 404}
  - {name: rest, match: {methods: [GET, POST], path: /elsewhere}, upstream: app}
`

// responseTo is what the backend answers to a path, so that a question can say it. While the backend fails, its
// items do.
func responseTo(path string, fails bool) (status int, header []string) {
	if fails && strings.HasPrefix(path, "/item/") {
		return http.StatusBadGateway, nil
	}
	switch _, what, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/"); what {
	case "gone":
		return http.StatusGone, nil
	case "broken":
		return http.StatusServiceUnavailable, nil
	case "private":
		return http.StatusOK, []string{"Cache-Control: private, max-age=60"}
	case "long":
		return http.StatusOK, []string{"Cache-Control: public, max-age=600", `ETag: "a"`}
	case "short":
		return http.StatusOK, []string{"Cache-Control: max-age=1", "Vary: Accept-Language"}
	case "cookie":
		return http.StatusOK, []string{"Cache-Control: max-age=60", "Set-Cookie: a=b"}
	case "tagged":
		return http.StatusOK, []string{"Cache-Control: max-age=60", "Surrogate-Key: list other"}
	case "vary":
		return http.StatusOK, []string{"Vary: X-Beta"}
	case "anna":
		return http.StatusOK, []string{`X-Gw-Session: login {"user":"anna"}`}
	}
	return http.StatusOK, nil
}

// notingBackend notes what arrives.
type notingBackend struct {
	fails atomic.Bool

	mu  sync.Mutex
	got []*http.Request
}

func (b *notingBackend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.got = append(b.got, r)
	b.mu.Unlock()
	status, header := responseTo(r.URL.Path, b.fails.Load())
	w.Header().Set("Content-Type", "application/json")
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		w.Header().Add(name, value)
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

func (b *notingBackend) take() (got []*http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	got, b.got = b.got, nil
	return got
}

// askedRequest is a request that is explained, then made.
type askedRequest struct {
	method, host, target string
	header               []string
}

func (r askedRequest) String() string {
	return fmt.Sprintf("%s %s of %s %q", r.method, r.target, r.host, r.header)
}

// question asks the admin API about it.
func (r askedRequest) question(fails bool) url.Values {
	q := url.Values{"method": {r.method}, "url": {"http://" + r.host + r.target}, "header": r.header}
	path, _, _ := strings.Cut(r.target, "?")
	status, header := responseTo(path, fails)
	q.Set("status", strconv.Itoa(status))
	q["response"] = header
	return q
}

// randomRequests makes requests of a small world, so that they meet again.
type randomRequests struct {
	*rand.Rand
	cookies []string // of sessions, some of them no longer valid
}

func (r *randomRequests) pick(of ...string) string { return of[r.IntN(len(of))] }

func (r *randomRequests) next() askedRequest {
	a := askedRequest{
		method: "GET", host: r.pick("api.example.org", "api.example.org", "www.example.org"),
		target: r.pick("/list", "/list", "/item/1", "/item/2", "/item/3", "/item/%31", "/item/gone", "/item/broken", "/item/vary", "/item/vary", "/mine", "/mine", "/keyed", "/beta", "/debug/x",
			"/strict/private", "/strict/long", "/strict/short", "/strict/short", "/strict/cookie", "/strict/tagged", "/strict/plain", "/elsewhere"),
	}
	if r.IntN(8) == 0 {
		a.method = r.pick("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "FOO")
	}
	switch r.IntN(30) {
	case 0:
		a.host = r.pick("API.example.org:80", "other.example.org")
	case 1:
		a.target = r.pick("/a//b", "/a%2fb", "/a/../b", "/%zz", "/nowhere")
	case 2:
		a.method, a.target = "POST", "/login/anna"
	}
	if r.IntN(3) == 0 {
		a.target += r.pick("?page=1", "?page=2", "?page=1&x=2", "?x=2", "?%zz")
	}
	a.header = append(a.header, "X-Forwarded-For: "+r.pick(fmt.Sprintf("203.0.113.%d", r.IntN(40)), "203.0.113.99, 127.0.0.1", fmt.Sprintf("2001:db8:%d::1", r.IntN(20))))
	for _, f := range []struct {
		line string
		in   int
	}{
		{"Accept-Language: " + r.pick("en", "he", "yi"), 2},
		{"Cache-Control: " + r.pick("no-cache", "no-store", "max-age=0", "only-if-cached", "max-stale=60", "min-fresh=30"), 6},
		{`If-None-Match: "a"`, 12},
		{"Range: bytes=0-1", 12},
		{"Authorization: Basic eA==", 15},
		{"X-Api-Key: " + r.pick("a", "b"), 4},
		{"X-Beta: 1", 4},
		{"X-Fresh: 1", 8},
		{"Origin: " + r.pick("https://app.example.org", "https://evil.example"), 8},
		{"Access-Control-Request-Method: GET", 20},
		{"Accept-Encoding: gzip", 3},
		{"User-Agent: test", 2},
		{"Cookie: theme=dark", 6},
		{"X_Odd: 1", 20},
		{"X-Gw-Identity: forged", 20},
		{"Content-Length: 0", 12},
		{"Upgrade: websocket", 40},
		{"Max-Forwards: 0", 30},
		{"Via: 1.1 other", 12},
	} {
		if r.IntN(f.in) == 0 {
			a.header = append(a.header, f.line)
		}
	}
	if len(r.cookies) > 0 && r.IntN(2) == 0 {
		a.header = append(a.header, "Cookie: gw="+r.cookies[r.IntN(len(r.cookies))])
	}
	return a
}

// rawClient sends requests as they are, over one connection while it lasts.
type rawClient struct {
	tb   testing.TB
	addr string
	conn net.Conn
	in   *bufio.Reader
}

func (c *rawClient) do(q *question) *http.Response {
	c.tb.Helper()
	for try := 0; ; try++ {
		if c.conn == nil {
			var err error
			if c.conn, err = net.Dial("tcp", c.addr); err != nil {
				c.tb.Fatal(err)
			}
			c.in = bufio.NewReader(c.conn)
		}
		_ = c.conn.SetDeadline(time.Now().Add(env.Patience))
		conn := c.conn
		go q.send(conn) // may be refused before its end
		resp, err := http.ReadResponse(c.in, &http.Request{Method: q.method})
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		if err != nil || resp.Close {
			_ = c.conn.Close()
			c.conn = nil
		}
		switch {
		case err == nil:
			return resp
		case try > 0:
			c.tb.Fatalf("%+v: %v", q, err)
		}
	}
}

// explainRig is a gateway whose explanations are compared with what it does.
type explainRig struct {
	tb      testing.TB
	gateway *gateway
	*explainer
	backend *notingBackend
	client  rawClient
	random  randomRequests
	asked   int
	seen    map[string]int // answers, by what gave them
	off     int            // explanations that the clock may have overtaken
}

func startExplainRig(tb testing.TB, policy, redisURL string) *explainRig {
	tb.Helper()
	rig := &explainRig{tb: tb, backend: &notingBackend{}, seen: map[string]int{}}
	upstream := httptest.NewServer(rig.backend)
	tb.Cleanup(upstream.Close)
	g, s := inThisProcess(tb, policy, map[string]string{"REDIS_URL": redisURL, "UPSTREAM_URL": upstream.URL})
	s.Policy.Server.Listen, s.Policy.Server.Admin = []string{"127.0.0.1:0"}, "127.0.0.1:0"
	servers, err := g.open(s.Policy)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(servers.close)
	secrets, err := loadSecrets(s.Policy, g.log)
	if err != nil {
		tb.Fatal(err)
	}
	rig.gateway, rig.explainer = g, g.explainer(secrets)
	rig.client = rawClient{tb: tb, addr: servers.data.listeners[0].Addr().String()}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("GATEWAY_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	tb.Logf("GATEWAY_SEED=%d", seed)
	rig.random.Rand = rand.New(rand.NewPCG(seed, 1))
	return rig
}

func (rig *explainRig) explain(query url.Values) *explanation {
	rig.tb.Helper()
	x, err := rig.answer(rig.tb.Context(), query)
	if err != nil {
		rig.tb.Fatalf("%s: %v", query.Encode(), err)
	}
	return x.(*explanation)
}

// compare explains a request, makes it, and compares.
func (rig *explainRig) compare(r askedRequest) {
	rig.tb.Helper()
	fails := rig.backend.fails.Load()
	x := rig.explain(r.question(fails))
	if got := rig.backend.take(); len(got) > 0 {
		rig.tb.Fatalf("explaining %v asked the backend: %v", r, got[0])
	}
	q, err := parseQuestion(r.question(fails), rig.live.Load(), time.Now())
	if err != nil {
		rig.tb.Fatal(err)
	}
	resp := rig.client.do(q)
	got := rig.backend.take()
	for _, c := range resp.Cookies() {
		if c.Name == "gw" && c.Value != "" {
			rig.random.cookies = append(rig.random.cookies, c.Value)
		}
	}
	rig.seen[fmt.Sprintf("%s %d", x.Answer.By, x.Answer.Status)]++
	diff := differs(x, resp, got)
	if rig.asked++; diff != "" && overtaken(x, resp) && rig.off < 5+rig.asked/20 {
		rig.off++
		return
	}
	if diff != "" {
		text, _ := json.MarshalIndent(x, "", "  ")
		rig.tb.Fatalf("%v: %s\nexplained as %s\nanswered %s %v", r, diff, text, resp.Status, resp.Header)
	}
}

// differs says how an explanation differs from what happened; "": it does not. A second may have begun between
// the two.
func differs(x *explanation, resp *http.Response, got []*http.Request) string {
	if x.Answer.Status != resp.StatusCode {
		return "another status"
	}
	if want, is := withoutTTL(x.Answer.CacheStatus), withoutTTL(strings.Join(resp.Header["Cache-Status"], ", ")); want != is {
		return "Cache-Status " + is
	}
	if want, is := x.Answer.RetryAfter, resp.Header.Get("Retry-After"); want != is && seconds(want)-1 != seconds(is) {
		return "Retry-After " + is
	}
	if len(x.Sent) != len(got) {
		return fmt.Sprintf("%d requests to the backend", len(got))
	}
	for i, s := range x.Sent {
		if diff := sentDiffers(s, got[i]); diff != "" {
			return diff
		}
	}
	// At least the tightest limit is reported to clients.
	for _, l := range x.Limits {
		if l.Name != x.Answer.Limit || l.InFlight != nil || l.Denies != "" {
			continue
		}
		if want := fmt.Sprintf(`"%s";r=%d;`, l.Name, l.Remaining); !strings.Contains(resp.Header.Get("Ratelimit")+";", want) {
			return "RateLimit " + resp.Header.Get("Ratelimit") + ", not " + want
		}
	}
	return ""
}

// overtaken reports whether the time between the two may have brought another answer: a response was about to be
// stale, a token to come back, or the upstream to be asked together with others again, after a response that could
// not be shared.
func overtaken(x *explanation, resp *http.Response) bool {
	refilled := slices.ContainsFunc(x.Limits, func(l limitOutcome) bool {
		return strings.Contains(resp.Header.Get("Ratelimit")+";", fmt.Sprintf(`"%s";r=%d;`, l.Name, l.Remaining+1))
	})
	alone := x.Cache != nil && x.Cache.NotStored != ""
	return strings.Contains(x.Answer.CacheStatus, "ttl=0") || x.Answer.RetryAfter == "1" || refilled || alone
}

func seconds(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

// withoutTTL cuts the number of seconds out.
func withoutTTL(status string) string {
	before, rest, ok := strings.Cut(status, "ttl=")
	if !ok {
		return status
	}
	return before + strings.TrimLeft(rest, "-0123456789")
}

func sentDiffers(s sentView, r *http.Request) string {
	if s.Method != r.Method || s.URI != r.RequestURI || s.Host != r.Host {
		return fmt.Sprintf("the backend got %s %s of %s", r.Method, r.RequestURI, r.Host)
	}
	want, is := maps.Clone(s.Header), maps.Clone(r.Header)
	for _, h := range []http.Header{want, is} {
		if h.Get("X-Request-Id") != "" {
			h["X-Request-Id"] = []string{"random"}
		}
		hideSecrets(h, "X-Gw-Identity")
		delete(h, "Content-Length") // net/http's matter
	}
	if !maps.EqualFunc(want, is, slices.Equal) {
		return fmt.Sprintf("the backend got %v, not %v", is, want)
	}
	return ""
}

// What explain says is what the gateway then does, while Redis is up, down and back.
func TestExplainEqualsWhatHappens(t *testing.T) {
	t.Parallel()
	n := 1200
	if text := os.Getenv("GATEWAY_EXPLAIN"); text != "" {
		n, _ = strconv.Atoi(text)
	}
	server := env.Redis(t)
	rig := startExplainRig(t, explainPolicy, server.URL)
	compare := func(n int) {
		for range n {
			if rig.random.IntN(50) == 0 {
				rig.backend.fails.Store(rig.random.IntN(3) == 0)
			}
			rig.compare(rig.random.next())
		}
	}
	compare(n / 2)
	server.Kill()
	rig.awaitRedis("down")
	compare(n / 4)
	server.Restart(true)
	rig.awaitRedis("up")
	compare(n / 4)
	t.Logf("%v; overtaken by the clock: %d", rig.seen, rig.off)
	for _, want := range []string{"cache 200", "upstream 200", "limit 429", "limit 403", "gateway 400", "gateway 401", "gateway 404", "gateway 405", "gateway 421"} {
		if rig.seen[want] == 0 {
			t.Errorf("no answer was %s: %v", want, rig.seen)
		}
	}
}

// FuzzExplain does the same with requests that no person would send.
func FuzzExplain(f *testing.F) {
	rig := startExplainRig(f, explainPolicy, "")
	for range 20 {
		r := rig.random.next()
		f.Add(r.method, r.host, r.target, r.header[0], r.header[len(r.header)-1])
	}
	f.Fuzz(func(t *testing.T, method, host, target, first, second string) {
		r := askedRequest{method, host, target, []string{first, second}}
		if _, err := parseQuestion(r.question(false), rig.live.Load(), time.Now()); err != nil {
			t.Skip(err) // it is told so
		}
		rig.tb, rig.client.tb = t, t
		rig.compare(r)
	})
}

// awaitRedis waits until the gateway thinks so of Redis.
func (rig *explainRig) awaitRedis(state string) {
	rig.tb.Helper()
	env.Eventually(rig.tb, env.Patience, func() error {
		if x := rig.explain(url.Values{"method": {"GET"}, "url": {"/elsewhere"}}); len(x.Redis) != 1 || x.Redis[0].State != state {
			return fmt.Errorf("redis: %v", x.Redis)
		}
		return nil
	})
}

// Explaining changes nothing: not the metrics, and not what is in memory or in Redis.
func TestExplainChangesNothing(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	rig := startExplainRig(t, explainPolicy, server.URL)
	for range 300 {
		rig.compare(rig.random.next())
	}
	client := goredis.NewClient(&goredis.Options{Addr: strings.TrimPrefix(server.URL, "redis://")})
	t.Cleanup(func() { _ = client.Close() })
	state := func() map[string]string {
		all := map[string]string{}
		w := httptest.NewRecorder()
		rig.gateway.admin.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/metrics", nil))
		for line := range strings.Lines(w.Body.String()) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			if strings.HasPrefix(name, "gateway_") && !strings.HasPrefix(name, "gateway_redis_") { // the probe's
				all[name] = value
			}
		}
		overview := rig.gateway.cache.Overview(rig.live.Load())
		for _, e := range slices.Concat(overview.Hottest, overview.Largest) {
			all["memory "+e.Key] = fmt.Sprint(e.Hits, e.Vary)
		}
		all["memory"] = fmt.Sprint(overview.Memory, rig.gateway.limits.local.Len())
		rig.gateway.limits.local.All(func(key string, b *gcra.Bucket) { all["bucket "+key] = fmt.Sprintf("%+v", *b) })
		for _, key := range client.Keys(t.Context(), "*").Val() {
			if !strings.HasPrefix(key, "rate:") && !strings.HasPrefix(key, "gw:{c:") && !strings.HasPrefix(key, "gw:{s:") {
				continue // probes and heartbeats
			}
			all["redis "+key] = client.Type(t.Context(), key).Val()
			if text, err := client.Get(t.Context(), key).Result(); err == nil {
				all["redis "+key] += text
			}
		}
		return all
	}
	before := state()
	if len(before) < 100 {
		t.Fatalf("there is little to change: %v", before)
	}
	for range 300 {
		rig.explain(rig.random.next().question(false))
	}
	after := state()
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if before[name] != after[name] {
			t.Errorf("%s was %q, is %q", name, before[name], after[name])
		}
	}
	if got := rig.backend.take(); len(got) > 0 {
		t.Errorf("the backend was asked: %v", got[0])
	}
}
