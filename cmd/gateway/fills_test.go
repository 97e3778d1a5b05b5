package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

const fillsPolicy = `
version: 1
server: {data_dir: ./%s, timeouts: {read_header: 30s}}
redis: {url: %q, replicas: 3, budget: 2s}
upstreams:
  app: {targets: [%q], concurrency: {wait: 30s}}
routes:
  - {name: list, match: {path: "/list/{name}"}, upstream: app, cache: {ttl: 1m}}
`

// halves is an upstream with one list, which waits half-way until it may go on.
type halves struct {
	*httptest.Server
	body  []byte
	now   atomic.Pointer[[]byte] // what it sends; body at first
	goOn  chan struct{}
	asked atomic.Int64
}

// newHalves makes the list so many bytes long; chunked: the upstream does not say so.
func newHalves(t *testing.T, size int, chunked bool) *halves {
	h := &halves{body: bytes.Repeat([]byte("a kosher list, "), size/15), goOn: make(chan struct{})}
	h.now.Store(&h.body)
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked.Add(1)
		body := *h.now.Load()
		if !chunked {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		_, _ = w.Write(body[:len(body)/2]) // a gateway that has gone is not told
		w.(http.Flusher).Flush()
		select {
		case <-h.goOn:
		case <-r.Context().Done():
			return
		}
		_, _ = w.Write(body[len(body)/2:]) // as above
	}))
	t.Cleanup(h.Close)
	return h
}

// change makes the upstream send another list of the same length.
func (h *halves) change() {
	other := bytes.Clone(h.body)
	other[0] = 'A'
	h.now.Store(&other)
}

// startFills starts gateways that share a Redis.
func startFills(t *testing.T, policy string, n int, redis, upstream string) (all []*gatewayProcess) {
	here, there := policyFolder(t)
	for i := range n {
		writePolicy(t, filepath.Join(here, fmt.Sprintf("%d.yaml", i)), fmt.Sprintf(policy, fmt.Sprint("data", i), redis, upstream))
	}
	own(t, here)
	for i := range n {
		g := start(t, nil, "run", "--config", filepath.Join(there, fmt.Sprintf("%d.yaml", i)))
		g.stderr.await(t, "redis is in use")
		all = append(all, g)
	}
	return all
}

// get gets a list as far as its first half. finish reads the rest.
func (h *halves) get(g *gatewayProcess, path string) (status string, finish func() error, err error) {
	req, err := http.NewRequest(http.MethodGet, g.base+path, nil)
	if err != nil {
		return "", nil, err
	}
	req.Host = "lists.example"
	req.Header.Set("Accept-Encoding", "identity")
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return "", nil, err
	}
	first := make([]byte, len(h.body)/2)
	if _, err := io.ReadFull(res.Body, first); err != nil || res.StatusCode != http.StatusOK {
		return "", nil, fmt.Errorf("%s: %w", res.Status, err)
	}
	return res.Header.Get("Cache-Status"), func() error {
		defer func() { _ = res.Body.Close() }() // it has been read
		rest, err := io.ReadAll(res.Body)
		if whole := append(first, rest...); err != nil || !bytes.Equal(whole, h.body) {
			return fmt.Errorf("%d of %d bytes: %w", len(whole), len(h.body), err)
		}
		return nil
	}, nil
}

// A hundred clients of three gateways ask for a cold list. The upstream is asked once, and all of them have the first
// half of its answer before it sends the second.
func TestOneOfSeveralGatewaysFills(t *testing.T) {
	t.Parallel()
	for says, chunked := range map[string]bool{"a list of 232 KB": false, "one of unknown length": true} {
		t.Run(says, func(t *testing.T) { crowdOfGateways(t, newHalves(t, 232<<10, chunked)) })
	}
}

func crowdOfGateways(t *testing.T, upstream *halves) {
	gateways := startFills(t, fillsPolicy, 3, env.Redis(t).URL, upstream.URL)
	const clients = 100
	var have, done sync.WaitGroup
	have.Add(clients)
	for i := range clients {
		done.Go(func() {
			_, finish, err := upstream.get(gateways[i%len(gateways)], "/list/restaurants")
			have.Done()
			if err == nil {
				err = finish()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	have.Wait()
	close(upstream.goOn)
	done.Wait()
	if asked := upstream.asked.Load(); asked != 1 {
		t.Errorf("the upstream was asked %d times", asked)
	}
	for _, g := range gateways {
		if status, _, err := upstream.get(g, "/list/restaurants"); err != nil || !strings.HasPrefix(status, "edge; hit") {
			t.Errorf("afterwards: %q, %v", status, err)
		}
	}
}

// While one gateway fills a list and another reads along, the first is killed, or Redis is. The one that reads along
// has the rest from the upstream, if that still sends the same list.
func TestReadersAlongOutliveTheFill(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		says    string
		kill    func(first *gatewayProcess, redis *env.RedisServer)
		changed bool
	}{
		{says: "the first gateway is killed", kill: func(g *gatewayProcess, _ *env.RedisServer) { g.signal(syscall.SIGKILL) }},
		{says: "Redis is killed", kill: func(_ *gatewayProcess, r *env.RedisServer) { r.Kill() }},
		{says: "Redis hangs", kill: func(_ *gatewayProcess, r *env.RedisServer) { r.Stop() }},
		{says: "Redis is emptied", kill: func(_ *gatewayProcess, r *env.RedisServer) { r.Do("OK", "FLUSHALL") }},
		{says: "the first gateway is killed, and the list changes", changed: true, kill: func(g *gatewayProcess, _ *env.RedisServer) { g.signal(syscall.SIGKILL) }},
	} {
		t.Run(tt.says, func(t *testing.T) {
			upstream, redis := newHalves(t, 232<<10, false), env.Redis(t)
			gateways := startFills(t, fillsPolicy, 2, redis.URL, upstream.URL)
			if _, _, err := upstream.get(gateways[0], "/list/mikvahs"); err != nil {
				t.Fatal(err)
			}
			_, finish, err := upstream.get(gateways[1], "/list/mikvahs")
			if err != nil {
				t.Fatal(err)
			}
			if asked := upstream.asked.Load(); asked != 1 {
				t.Errorf("the upstream was asked %d times", asked)
			}
			tt.kill(gateways[0], redis)
			if tt.changed {
				upstream.change()
			}
			close(upstream.goOn)
			if err := finish(); (err != nil) != tt.changed {
				t.Errorf("the reader along: %v", err)
			}
		})
	}
}

const othersPolicy = `
version: 1
server: {data_dir: ./%s, timeouts: {read_header: 30s}}
session: {keys_file: ./session.keys, cookie: {name: gw, secure: false}, idle: 40s, identity: {keys_file: ./identity.keys}}
redis: {url: %q, replicas: 3, budget: 2s}
upstreams:
  app: {targets: [%q], concurrency: {wait: 30s}}
routes:
  - {name: login, match: {path: "/login/{user}"}, upstream: app, session: optional, session_signal: true}
  - {name: me, match: {path: /me}, upstream: app, session: required}
  - {name: list, match: {path: /list}, upstream: app, session: optional, cache: {ttl: 1m}}
  - {name: strict, match: {path: "/strict/{what}"}, upstream: app, cache: {mode: strict, query: {allow: ["*"]}}}
`

// ownAnswers answers each client by its name, and all of them late, so that they wait for each other.
func ownAnswers(w http.ResponseWriter, r *http.Request) {
	name := r.Header.Get("X-Client")
	switch r.URL.Path {
	case "/strict/private":
		w.Header().Set("Cache-Control", "private, max-age=60")
	case "/strict/cookie":
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Set-Cookie", "id="+name)
	case "/list":
		name = "everyone"
	case "/me":
		payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(r.Header.Get("X-Gw-Identity"), ".")[2])
		name = string(payload)
	default:
		user := strings.TrimPrefix(r.URL.Path, "/login/")
		w.Header().Set("X-Gw-Session", fmt.Sprintf(`login {"user":%q}`, user))
		name = user
	}
	time.Sleep(200 * time.Millisecond)
	_, _ = io.WriteString(w, name) // a gateway that has gone is not told
}

// A hundred clients of three gateways ask for the same at once, where the answer is one client's alone: it is private,
// it sets a cookie, it logs in, or the gateway itself prolongs the client's session with it. Nobody gets another's.
func TestNobodyGetsAnothersAnswer(t *testing.T) {
	t.Parallel()
	var lists atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/list" {
			lists.Add(1)
		}
		ownAnswers(w, r)
	}))
	t.Cleanup(upstream.Close)
	gateways := startFills(t, othersPolicy, 3, env.Redis(t).URL, upstream.URL)
	const clients = 100
	race := func(path string, with func(i int) []string, judge func(i int, a answer)) {
		t.Helper()
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				a := gateways[i%len(gateways)].do("GET", strings.ReplaceAll(path, "NAME", user(i)), "", append(with(i), "Host", "answers.example")...)
				if a.StatusCode != http.StatusOK {
					t.Errorf("%s: %s", path, a.Status)
					return
				}
				judge(i, a)
			})
		}
		all.Wait()
	}
	named := func(i int) []string { return []string{"X-Client", user(i)} }
	race("/strict/private", named, func(i int, a answer) {
		if a.body != user(i) {
			t.Errorf("%s got the private answer of %s", user(i), a.body)
		}
	})
	race("/strict/cookie", named, func(i int, a answer) {
		if c := a.Cookies(); a.body != user(i) || len(c) != 1 || c[0].Value != user(i) {
			t.Errorf("%s got %q with %v", user(i), a.body, c)
		}
	})
	var cookies [clients]string
	mine := func(i int) []string { return []string{"Cookie", "gw=" + cookies[i]} }
	keep := func(i int, a answer) {
		if c := a.Cookies(); len(c) == 1 && c[0].Name == "gw" {
			cookies[i] = c[0].Value
		} else {
			t.Errorf("%s got the cookies %v", user(i), c)
		}
	}
	race("/login/NAME", named, keep)
	time.Sleep(11 * time.Second) // more than a quarter of idle, so that sessions are prolonged
	race("/list", mine, keep)
	if n := lists.Load(); n != 1 {
		t.Errorf("the upstream was asked for the list %d times", n)
	}
	race("/me", mine, func(i int, a answer) {
		if !strings.Contains(a.body, fmt.Sprintf(`"u":%q`, user(i))) {
			t.Errorf("%s is %s", user(i), a.body)
		}
	})
}

func user(i int) string { return fmt.Sprintf("user%d", i) }
