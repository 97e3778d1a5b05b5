package session_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

// countingStore counts what reaches a store.
type countingStore struct {
	session.Store
	loads, saves, revokes atomic.Int32
	keys                  sync.Map
}

func (s *countingStore) Load(ctx context.Context, ref session.Ref) (session.Record, error) {
	s.loads.Add(1)
	return s.Store.Load(ctx, ref)
}

func (s *countingStore) Save(ctx context.Context, key string, rec session.Record) error {
	s.saves.Add(1)
	s.keys.Store(key, rec.User)
	return s.Store.Save(ctx, key, rec)
}

func (s *countingStore) Revoke(ctx context.Context, r []session.Revocation) error {
	s.revokes.Add(1)
	return s.Store.Revoke(ctx, r)
}

// routes of the gateway under test, by path.
var routes = map[string]*policy.Route{
	"/off":      {Name: "off"},
	"/optional": {Name: "optional", Session: policy.SessionOptional},
	"/required": {Name: "required", Session: policy.SessionRequired},
	"/signal":   {Name: "signal", Session: policy.SessionOptional, SessionSignal: true},
	"/unseen":   {Name: "unseen", SessionSignal: true},
	"/mine":     {Name: "mine", Session: policy.SessionOptional, Cache: &policy.CacheRule{Key: []policy.Source{{Kind: policy.SourceSession}}}},

	"/optional/deep":  {Name: "deep", Session: policy.SessionOptional},
	"/optionally":     {Name: "beside", Session: policy.SessionOptional},
	"/optional/deep/": {Name: "deeper", Session: policy.SessionOptional},
}

// gateway is a Manager between a client and an upstream, all over sockets.
type gateway struct {
	t        *testing.T
	clock    *env.Clock
	store    *countingStore
	settings policy.Session
	cors     policy.CORS
	plan     *exchange.Plan // given to every exchange behind the Manager
	server   *httptest.Server

	mu       sync.Mutex
	upstream func(http.ResponseWriter, *http.Request) // guarded by mu
	last     *exchange.Exchange                       // guarded by mu
	ended    []string                                 // calls of Config.Ended; guarded by mu
	log      strings.Builder                          // guarded by mu
}

// Write takes the log.
func (g *gateway) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log.Write(p)
}

// logged returns what was logged since the last call.
func (g *gateway) logged() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer g.log.Reset()
	return g.log.String()
}

func newGateway(t *testing.T, keys *session.Keyring, store session.Store) *gateway {
	g := &gateway{t: t, clock: env.NewClock(start), settings: policy.Session{
		Cookie:   policy.Cookie{Name: cookieName, SameSite: "lax", Secure: true},
		Idle:     policy.Duration(30 * time.Minute),
		Absolute: policy.Duration(24 * time.Hour),
	}}
	if store == nil {
		store = memory.NewSessions(memory.SessionsConfig{Now: g.clock.Now})
	}
	g.store = &countingStore{Store: store}
	upstream := httptest.NewServer(http.HandlerFunc(g.serveUpstream))
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return g.clock.Now() } // tests may let gateways share a clock
	ended := func(_ context.Context, ex *exchange.Exchange, everywhere bool) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.ended = append(g.ended, fmt.Sprintf("%s of %q, everywhere %v", ex.Principal.SessionID, ex.Principal.User, everywhere))
		return nil
	}
	cfg := session.Config{Keys: keys, Store: g.store, Now: now, Ended: ended, Log: slog.New(slog.NewTextHandler(g, nil))}
	if local, ok := store.(session.Replica); ok {
		cfg.Forgotten = local.Forgotten
	}
	manager := session.New(cfg)
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: manager.Transport(http.DefaultTransport),
	}
	chain := manager.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		exchange.From(r.Context()).Plan = g.plan
		proxy.ServeHTTP(w, r)
	}))
	g.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := &exchange.Exchange{
			View:     policy.View{Method: r.Method, Host: host, Path: r.URL.Path, Now: g.clock.Now(), Header: r.Header},
			Snapshot: &policy.Snapshot{Policy: &policy.Policy{Session: g.settings, CORS: g.cors}},
			Route:    routes[r.URL.Path],
		}
		defer func() {
			g.mu.Lock()
			g.last = ex
			g.mu.Unlock()
		}()
		chain.ServeHTTP(w, r.WithContext(exchange.With(r.Context(), ex)))
	}))
	t.Cleanup(g.server.Close)
	return g
}

// serveUpstream sends the signals of the query's say parameters, unless the test has its own
// upstream.
func (g *gateway) serveUpstream(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	own := g.upstream
	g.mu.Unlock()
	if own != nil {
		own(w, r)
		return
	}
	for _, say := range r.URL.Query()["say"] {
		w.Header().Add("X-Gw-Session", say)
	}
	_, _ = io.WriteString(w, "hello")
}

// reply is a response, and what the gateway noted about it.
type reply struct {
	*http.Response
	body   string
	ex     *exchange.Exchange
	cookie string // value of the session cookie that was set
	set    *http.Cookie
}

// get requests path with the session cookie ("": none); say are the upstream's signals.
func (g *gateway) get(path, cookie string, say ...string) reply {
	g.t.Helper()
	r, err := http.NewRequest(http.MethodGet, g.server.URL+path+"?"+url.Values{"say": say}.Encode(), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if cookie != "" {
		r.Header.Set("Cookie", cookieName+"="+cookie)
	}
	return g.do(r)
}

func (g *gateway) do(r *http.Request) reply {
	g.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	if resp.Header.Get("X-Gw-Session") != "" || resp.Trailer.Get("X-Gw-Session") != "" {
		g.t.Errorf("%s: the signal reached the client: %v %v", r.URL.Path, resp.Header, resp.Trailer)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	out := reply{Response: resp, body: string(body), ex: g.last}
	for _, c := range resp.Cookies() {
		if c.Name == cookieName {
			out.cookie, out.set = c.Value, c
		}
	}
	return out
}

// login gives the cookie of a fresh login.
func (g *gateway) login(user string) string {
	g.t.Helper()
	r := g.get("/signal", "", `login {"user":"`+user+`","roles":["editor"]}`)
	if r.cookie == "" {
		g.t.Fatalf("no cookie after a login: %v, %q", r.Header, r.ex.Facts.Reason)
	}
	return r.cookie
}

// expect asks the required route and compares user and Facts.Session.
func (g *gateway) expect(what, cookie, user, facts string) {
	g.t.Helper()
	r := g.get("/required", cookie)
	status := http.StatusOK
	if facts != "valid" {
		status = http.StatusUnauthorized
	}
	if r.StatusCode != status || r.ex.Principal.User != user || r.ex.Facts.Session != facts {
		g.t.Errorf("%s: %d, user %q, session %q (%s); want %d, %q, %q", what,
			r.StatusCode, r.ex.Principal.User, r.ex.Facts.Session, r.ex.Facts.Reason, status, user, facts)
	}
}

func TestLogin(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	r := g.get("/signal", "", `login {"user":"42","roles":["editor"]}`)
	c := r.set
	if c == nil || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 1800 {
		t.Fatalf("cookie %+v", c)
	}
	if r.body != "hello" || r.Header.Get("Cache-Control") != "private" || r.ex.Facts.Session != "created" {
		t.Errorf("%q, %v, %+v", r.body, r.Header, r.ex.Facts)
	}
	g.expect("after the login", c.Value, "42", "valid")
	for _, path := range []string{"/optional", "/signal", "/unseen"} {
		p := g.get(path, c.Value).ex.Principal
		if p.User != "42" || len(p.Roles) != 1 || p.Roles[0] != "editor" || len(p.SessionID) != 32 || strings.Contains(c.Value, p.SessionID) {
			t.Errorf("%s: %+v", path, p)
		}
	}
	if p := g.get("/off", c.Value); !p.ex.Principal.Anonymous() || p.ex.Facts.Session != "" {
		t.Errorf("on a route without sessions: %+v, %+v", p.ex.Principal, p.ex.Facts)
	}
}

func TestLogout(t *testing.T) {
	for _, verb := range []string{"logout", "logout-all"} {
		g := newGateway(t, ringOf(t, "a"), nil)
		cookie := g.login("42")
		r := g.get("/signal", cookie, verb)
		if r.set == nil || r.set.MaxAge != -1 || r.set.Value != "" || r.set.Path != "/" || !r.set.Secure || !r.set.HttpOnly {
			t.Errorf("%s: cookie %+v, want it cleared", verb, r.set)
		}
		if r.ex.Facts.Session != "ended" || r.Header.Get("Cache-Control") != "private" {
			t.Errorf("%s: %+v, %v", verb, r.ex.Facts, r.Header)
		}
		g.expect("a copy of the cookie after "+verb, cookie, "", "revoked")
		for _, dead := range []string{"", cookie, "garbage"} {
			if r := g.get("/signal", dead, verb); r.set == nil || r.set.MaxAge != -1 {
				t.Errorf("%s with cookie %q: %+v, want it cleared", verb, dead, r.set)
			}
		}
	}
}

func TestLogoutAllEndsTheUsersSessionsEverywhereAndNoOthers(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	phone, laptop, someone := g.login("42"), g.login("42"), g.login("43")
	guest := g.get("/signal", "", `set {"k":"v"}`).cookie
	g.clock.Advance(time.Second)
	g.get("/signal", phone, "logout-all")
	g.clock.Advance(time.Second)
	again := g.login("42")
	g.expect("the phone", phone, "", "revoked")
	g.expect("the laptop", laptop, "", "revoked")
	g.expect("someone else", someone, "43", "valid")
	g.expect("a guest", guest, "", "valid")
	g.expect("the next login", again, "42", "valid")
}

func TestNoSessionIDComesFromOutside(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	for _, planted := range []string{"planted", strings.Repeat("A", 43), strings.Repeat("a", 64), "meta:cfg", mustSeal(t, session.NewSealer(ringOf(t, "b")), sampleSeal())} {
		first := g.get("/signal", planted, `login {"user":"42"}`)
		second := g.get("/signal", planted, `login {"user":"42"}`)
		if first.cookie == "" || first.cookie == planted {
			t.Fatalf("%q: cookie %q", planted, first.cookie)
		}
		g.expect("the planted cookie after the login", planted, "", "invalid")
		one, two := g.get("/optional", first.cookie).ex.Principal, g.get("/optional", second.cookie).ex.Principal
		if one.User != "42" || two.User != "42" || one.SessionID == two.SessionID {
			t.Errorf("%q: sessions %+v and %+v", planted, one, two)
		}
		if _, ok := g.store.keys.Load(planted); ok {
			t.Errorf("%q became a key of the store", planted)
		}
	}
}

func TestLoginEndsTheSessionThatItReplaces(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	guest := g.get("/signal", "", `set {"cart":"3"}`).cookie
	id := func(cookie string) string { return g.get("/optional", cookie).ex.Principal.SessionID }
	guestID := id(guest)
	user := g.get("/signal", guest, `login {"user":"42"}`).cookie
	if id(user) == guestID {
		t.Error("the guest's session ID went on after the login")
	}
	g.expect("the guest's cookie", guest, "", "revoked")
	if v := g.values(user); v["cart"] != "3" {
		t.Errorf("a guest's values did not move along: %v", v)
	}
	other := g.get("/signal", user, `login {"user":"43"}`).cookie
	g.expect("the first user's cookie", user, "", "revoked")
	if v := g.values(other); len(v) != 0 {
		t.Errorf("another user got the values %v", v)
	}
}

// values reads what the store has for the session.
func (g *gateway) values(cookie string) map[string]string {
	g.t.Helper()
	seal, err := session.NewSealer(ringOf(g.t, "a")).Open(cookieName, host, cookie, g.clock.Now())
	if err != nil {
		g.t.Fatal(err)
	}
	ctx := exchange.With(context.Background(), &exchange.Exchange{})
	rec, err := g.store.Store.Load(ctx, seal.Ref())
	if err != nil {
		g.t.Fatal(err)
	}
	return rec.Values
}

func TestSetMergesValues(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	cookie := g.login("42")
	cookie = g.get("/signal", cookie, `set {"a":"1","b":"2"}`).cookie
	r := g.get("/signal", cookie, `set {"b":null,"c":"3"}`)
	if v, _ := json.Marshal(g.values(r.cookie)); string(v) != `{"a":"1","c":"3"}` {
		t.Errorf("values %s", v)
	}
	g.expect("after set", r.cookie, "42", "valid")
	if r := g.get("/signal", r.cookie, `set {"big":"`+strings.Repeat("x", 3000)+`"}`); r.ex.Facts.Reason != "" {
		t.Errorf("3000 bytes: %s", r.ex.Facts.Reason)
	}
}

func TestParallelSetsLoseNothing(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	cookie := g.login("42")
	var wg sync.WaitGroup
	for _, k := range []string{"a", "b", "c"} {
		wg.Go(func() { g.get("/signal", cookie, `set {"`+k+`":"1"}`) })
	}
	wg.Wait()
	if v := g.values(cookie); len(v) != 3 {
		t.Errorf("values %v, want a, b and c", v)
	}
}

func TestGuestsCostTheStoreNothing(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	for _, path := range []string{"/off", "/optional", "/required", "/signal", "/unseen"} {
		for _, cookie := range []string{"", "garbage"} {
			if r := g.get(path, cookie); r.set != nil {
				t.Errorf("%s: cookie %v", path, r.set)
			}
		}
	}
	if n := g.store.loads.Load() + g.store.saves.Load() + g.store.revokes.Load(); n != 0 {
		t.Errorf("%d calls of the store", n)
	}
	first := g.get("/signal", "", `set {"k":"v"}`)
	if first.cookie == "" || g.store.saves.Load() != 1 {
		t.Errorf("the first write of a guest: %v, %d saves", first.set, g.store.saves.Load())
	}
}

func TestRequiredAnswersEveryDeadCookieAlike(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	revoked, expired := g.login("42"), g.login("42")
	g.get("/signal", revoked, "logout")
	g.clock.Advance(29 * time.Minute)
	fresh := g.login("42")
	foreign, own := session.NewSealer(ringOf(t, "b")), session.NewSealer(ringOf(t, "a"))
	sealedAs := func(name, host string) string {
		value, err := own.Seal(name, host, sampleSeal())
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	other := g.login("43")
	g.expect("revoked", revoked, "", "revoked")
	g.clock.Advance(time.Minute)
	var bodies, headers []string
	type dead struct{ cookie, facts, reason string }
	const invalid = "invalid session cookie"
	all := []dead{
		{"", "none", "no session"},
		{expired, "expired", invalid + ": expired"},
		{mustSeal(t, foreign, sampleSeal()), "invalid", invalid}, // as after its key was retired
		{sealedAs("another", host), "invalid", invalid},
		{sealedAs(cookieName, "www.example.org"), "invalid", invalid},
		{fresh[:len(fresh)/2] + other[len(fresh)/2:], "invalid", invalid},
		{"%00", "invalid", invalid},
	}
	for i := range fresh {
		all = append(all, dead{fresh[:max(1, i)], "invalid", invalid})
		for bit := range 8 {
			b := []byte(fresh)
			if b[i] ^= 1 << bit; b[i] >= ' ' && b[i] != 0x7f { // else net/http does not send it
				all = append(all, dead{string(b), "invalid", invalid})
			}
		}
	}
	for _, tt := range all {
		r := g.get("/required", tt.cookie)
		if got, want := r.Header.Get("WWW-Authenticate"), `Cookie realm="gateway", cookie-name="`; !strings.HasPrefix(got, want) {
			t.Errorf("%s: WWW-Authenticate %q", tt.facts, got)
		}
		if r.StatusCode != 401 || r.ex.Facts.Session != tt.facts || r.ex.Facts.Reason != tt.reason || r.set != nil {
			t.Errorf("%s: %d, %+v, %v", tt.facts, r.StatusCode, r.ex.Facts, r.set)
		}
		r.Header.Del("Date")
		header, _ := json.Marshal(r.Header)
		bodies, headers = append(bodies, r.body), append(headers, string(header))
	}
	for i := range bodies {
		if bodies[i] != bodies[0] || headers[i] != headers[0] {
			t.Errorf("answer %d differs:\n%s%s\n%s%s", i, headers[0], bodies[0], headers[i], bodies[i])
		}
	}
	if !strings.Contains(headers[0], "application/problem+json") {
		t.Errorf("headers %s", headers[0])
	}
}

func TestDeadlinesMoveWithUseUntilTheAbsoluteOne(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	cookie, saves := g.login("42"), g.store.saves.Load()
	g.clock.Advance(59 * time.Second)
	if r := g.get("/optional", cookie); r.set != nil || g.store.saves.Load() != saves {
		t.Errorf("a new seal within a minute: %v", r.set)
	}
	g.clock.Advance(time.Second)
	r := g.get("/optional", cookie)
	if r.set == nil || g.store.saves.Load() != saves+1 || r.Header.Get("Cache-Control") != "private" {
		t.Fatalf("no new seal after a minute: %v, %d saves", r.Header, g.store.saves.Load()-saves)
	}
	id := r.ex.Principal.SessionID
	for range 23*3 + 2 { // every 20 minutes, until just before the end
		cookie = r.cookie
		g.clock.Advance(20 * time.Minute)
		if r = g.get("/required", cookie); r.StatusCode != 200 || r.ex.Principal.SessionID != id {
			t.Fatalf("in use, at %v: %d, %+v", g.clock.Now().Sub(start), r.StatusCode, r.ex.Facts)
		}
	}
	if r.set.MaxAge > 20*60 {
		t.Errorf("the cookie outlives the session by %d s", r.set.MaxAge)
	}
	g.clock.Advance(20 * time.Minute)
	g.expect("past the absolute deadline", r.cookie, "", "expired")
}

// deafStore is always unavailable.
type deafStore struct{}

var errDeaf = errors.New("connection refused")

func (deafStore) Load(context.Context, session.Ref) (session.Record, error) {
	return session.Record{}, errDeaf
}
func (deafStore) Save(context.Context, string, session.Record) error { return errDeaf }
func (deafStore) Revoke(context.Context, []session.Revocation) error { return errDeaf }

func TestAStoreThatCannotBeAskedLogsNobodyOut(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), deafStore{})
	cookie := g.login("42")
	g.expect("at once", cookie, "42", "valid")
	saves := g.store.saves.Load()
	g.clock.Advance(10 * time.Minute)
	r := g.get("/required", cookie)
	if r.StatusCode != 200 || r.cookie == "" || !strings.Contains(r.ex.Facts.Reason, "connection refused") {
		t.Errorf("%d, %v, %+v", r.StatusCode, r.set, r.ex.Facts)
	}
	g.get("/signal", r.cookie, `set {"k":"v"}`)
	if g.store.saves.Load() != saves {
		t.Error("a record that could not be read was written")
	}
	if r := g.get("/signal", cookie, "logout"); r.set == nil || r.set.MaxAge != -1 {
		t.Errorf("logout: %+v, want the cookie cleared", r.set)
	}
}

func TestSignalsThatAreNotObeyed(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	alive := g.login("42")
	for _, tt := range []struct {
		says, path string
		say        []string
		plan       *exchange.Plan
		reason     string
	}{
		{"a route without session_signal", "/optional", []string{"logout"}, nil, "without session_signal"},
		{"a route without sessions", "/off", []string{"logout"}, nil, "without session_signal"},
		{"a response that the cache may store", "/signal", []string{"logout"}, &exchange.Plan{Store: true}, "the cache"},
		{"a response that the cache may have had", "/signal", []string{`login {"user":"1"}`}, &exchange.Plan{Lookup: true}, "the cache"},
		{"two lines", "/signal", []string{"logout", `login {"user":"1"}`}, nil, "2 lines"},
		{"an unknown verb", "/signal", []string{"login2"}, nil, "unknown verb"},
		{"nothing", "/signal", []string{""}, nil, "unknown verb"},
		{"a login without an argument", "/signal", []string{"login"}, nil, "login: the argument"},
		{"a login of nobody", "/signal", []string{"login {}"}, nil, "login: no user"},
		{"a login of a number", "/signal", []string{`login {"user":42}`}, nil, "login: the argument"},
		{"a login with something unknown", "/signal", []string{`login {"user":"42","admin":true}`}, nil, "login: the argument"},
		{"a login with a tail", "/signal", []string{`login {"user":"42"} {}`}, nil, "login: more than one"},
		{"roles that are one string", "/signal", []string{`login {"user":"42","roles":"admin"}`}, nil, "login: the argument"},
		{"a logout of someone", "/signal", []string{`logout {"user":"43"}`}, nil, "no argument"},
		{"set of a list", "/signal", []string{`set ["a"]`}, nil, "set: the argument"},
		{"set of nothing", "/signal", []string{`set {}`}, nil, "set: no values"},
		{"set of too much", "/signal", []string{`set {"k":"` + strings.Repeat("x", 16<<10) + `"}`}, nil, "too large"},
	} {
		g.plan = tt.plan
		// The upstream sets the signal itself, since 16 KiB do not fit into the query.
		g.setUpstream(func(w http.ResponseWriter, _ *http.Request) { w.Header()["X-Gw-Session"] = tt.say })
		r := g.get(tt.path, alive)
		if r.StatusCode != 200 || r.set != nil || !strings.Contains(r.ex.Facts.Reason, tt.reason) {
			t.Errorf("%s: %d, cookie %v, reason %q", tt.says, r.StatusCode, r.set, r.ex.Facts.Reason)
		}
		if strings.Contains(r.ex.Facts.Reason, "43") || strings.Contains(r.ex.Facts.Reason, "admin") {
			t.Errorf("%s: the reason quotes the signal: %q", tt.says, r.ex.Facts.Reason)
		}
	}
	g.plan = nil
	g.setUpstream(nil)
	g.expect("after all of them", alive, "42", "valid")
}

func (g *gateway) setUpstream(f func(http.ResponseWriter, *http.Request)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.upstream = f
}

func TestALoginThatDoesNotFitLeavesNoSession(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	old := g.login("42")
	r := g.get("/signal", old, `login {"user":"`+strings.Repeat("u", 4000)+`"}`)
	if r.set == nil || r.set.MaxAge != -1 || !strings.Contains(r.ex.Facts.Reason, "too large") {
		t.Errorf("cookie %+v, reason %q", r.set, r.ex.Facts.Reason)
	}
	g.expect("the old session", old, "", "revoked")
}

func TestTheSignalNeverReachesTheClient(t *testing.T) {
	upstreams := map[string]func(http.ResponseWriter, *http.Request){
		"a header": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Gw-Session", "logout")
		},
		"a header in another spelling": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["x-gw-SESSION"] = []string{"logout"}
			w.WriteHeader(http.StatusNoContent)
		},
		"a flushed stream": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Gw-Session", "logout")
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, "data")
		},
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Gw-Session", "logout")
			w.WriteHeader(http.StatusInternalServerError)
		},
		"an interim response": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Gw-Session", "logout")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("X-Gw-Session")
			_, _ = io.WriteString(w, "data")
		},
		"an announced trailer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Gw-Session")
			_, _ = io.WriteString(w, "data")
			w.Header().Set("X-Gw-Session", "logout")
		},
		"a trailer out of the blue": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "data")
			_ = http.NewResponseController(w).Flush()
			w.Header().Set(http.TrailerPrefix+"X-Gw-Session", "logout")
		},
	}
	g := newGateway(t, ringOf(t, "a"), nil)
	for what, upstream := range upstreams {
		for path := range routes {
			g.setUpstream(nil)
			cookie := g.login("42")
			g.setUpstream(upstream)
			r, err := http.NewRequest(http.MethodGet, g.server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Cookie", cookieName+"="+cookie)
			interim := 0
			trace := &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
				interim++
				if h.Get("X-Gw-Session") != "" {
					t.Errorf("%s on %s reached the client in a 1xx", what, path)
				}
				return nil
			}}
			g.do(r.WithContext(httptrace.WithClientTrace(r.Context(), trace))) // which looks at header and trailer
			if want := strings.Contains(what, "interim"); want != (interim > 0) {
				t.Errorf("%s on %s: %d interim responses", what, path, interim)
			}
		}
	}
}

// A signal that does not come from an upstream is ignored and reaches no client.
func TestHandlersThatNeverCallWriteHeader(t *testing.T) {
	manager := session.New(session.Config{Keys: ringOf(t, "a"), Store: memory.NewSessions(memory.SessionsConfig{})})
	settings := policy.Session{Cookie: policy.Cookie{Name: "gw"}, Idle: policy.Duration(time.Hour), Absolute: policy.Duration(time.Hour)}
	for what, write := range map[string]func(http.ResponseWriter){
		"one that only writes":  func(w http.ResponseWriter) { _, _ = io.WriteString(w, "data") },
		"one that flushes":      func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"one that does no more": func(http.ResponseWriter) {},
	} {
		handler := manager.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Gw-Session", `login {"user":"42"}`)
			write(w)
		}))
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ex := &exchange.Exchange{Snapshot: &policy.Snapshot{Policy: &policy.Policy{Session: settings}}, Route: routes["/signal"]}
			handler.ServeHTTP(w, r.WithContext(exchange.With(r.Context(), ex)))
		}))
		resp, err := http.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Header.Get("X-Gw-Session") != "" || len(resp.Cookies()) != 0 {
			t.Errorf("%s: %v", what, resp.Header)
		}
		_ = resp.Body.Close()
		server.Close()
	}
}

func TestTheSignalIsStrippedFromAnUpgrade(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	g.setUpstream(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Gw-Session", `login {"user":"42"}`)
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	})
	conn, err := net.Dial("tcp", g.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /signal HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("X-Gw-Session") != "" {
		t.Errorf("%d, %v", resp.StatusCode, resp.Header)
	}
}

// targeted are fields that a shared cache may obey in place of Cache-Control: the gateway's own, two
// common ones, and an invented one.
var targeted = []string{"Edge-Cache-Control", "CDN-Cache-Control", "Surrogate-Control", "X-Some-CDN-cache-control"}

func TestAResponseWithASessionCookieIsPrivate(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	for _, tt := range []struct{ sent, want string }{
		{"", "private"},
		{"public, max-age=300", "private, max-age=300"},
		{"max-age=300, S-MaxAge=600, must-revalidate", "private, max-age=300, must-revalidate"},
		{"no-store", "no-store"},
		{"no-cache, no-store, max-age=0", "no-cache, no-store, max-age=0"},
		{`private="Set-Cookie, X-A", max-age=5`, "private, max-age=5"},
		{`no-cache="public, a\", no-store"`, `private, no-cache="public, a\", no-store"`},
		{",, public ,", "private"},
	} {
		g.setUpstream(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", tt.sent)
			for _, name := range targeted {
				w.Header().Set(name, "max-age=600")
			}
			w.Header().Add("Set-Cookie", "other=1")
			w.Header().Set("X-Gw-Session", `login {"user":"42"}`)
		})
		r := g.get("/signal", "")
		if got := r.Header.Get("Cache-Control"); got != tt.want {
			t.Errorf("%q became %q, want %q", tt.sent, got, tt.want)
		}
		for _, name := range targeted {
			if got := r.Header.Get(name); got != "" {
				t.Errorf("%q: a shared cache still obeys %s: %s", tt.sent, name, got)
			}
		}
		if len(r.Cookies()) != 2 {
			t.Errorf("%q: %v", tt.sent, r.Header)
		}
		if got := g.get("/optional", "").Header.Get("Cache-Control"); got != tt.sent {
			t.Errorf("without a session cookie %q became %q", tt.sent, got)
		}
	}
}

// Responses of one session have no Vary that would tell another cache so.
func TestAResponseOfAPrivateEntryIsPrivate(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	cookie := g.get("/signal", "", `login {"user":"42"}`).set.Value
	g.setUpstream(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=300")
		w.Header().Set("Edge-Cache-Control", "max-age=600")
	})
	r := g.get("/mine", cookie)
	if got := r.Header.Get("Cache-Control"); got != "private, max-age=300" || r.Header.Get("Edge-Cache-Control") != "" {
		t.Errorf("with a session: %v", r.Header)
	}
	if got := g.get("/mine", "").Header.Get("Cache-Control"); got != "max-age=300" {
		t.Errorf("without one: %q", got)
	}
}

// The response to an older request must not replace the cookie of a new login.
func TestASlowResponseBringsNoEndedSessionBack(t *testing.T) {
	for says, end := range map[string]func(g *gateway, cookie string){
		"replaced by a login": func(g *gateway, cookie string) { g.get("/signal", cookie, `login {"user":"42"}`) },
		"ended":               func(g *gateway, cookie string) { g.get("/signal", cookie, "logout") },
		"ended with all":      func(g *gateway, cookie string) { g.get("/signal", g.login("42"), "logout-all") },
	} {
		for _, say := range []string{"", `set {"a":"1"}`} {
			t.Run(says+", answered with "+say, func(t *testing.T) {
				g := newGateway(t, ringOf(t, "a"), nil)
				cookie := g.login("42")
				g.clock.Advance(20 * time.Minute) // worth a new cookie
				arrived, open := make(chan struct{}), make(chan struct{})
				g.setUpstream(func(w http.ResponseWriter, r *http.Request) {
					close(arrived)
					<-open
					w.Header().Set("X-Gw-Session", say)
				})
				slow := make(chan reply)
				go func() { slow <- g.get("/signal", cookie) }()
				<-arrived
				g.setUpstream(nil)
				end(g, cookie)
				close(open)
				if r := <-slow; r.set != nil {
					t.Errorf("the response sets %v", r.set)
				}
			})
		}
	}
}

func TestTheValidCookieOfSeveralCounts(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	valid, ended := g.login("42"), g.login("42")
	g.get("/signal", ended, "logout")
	for _, lines := range [][]string{
		{"gw=stale; gw=VALID"}, {"gw=VALID; gw=stale"}, {"gw=ENDED; gw=VALID"}, {"a=1; gw=stale", "gw=ENDED; gw=VALID; b=2"}, {"gw=; gw=VALID", "gw=stale"},
	} {
		r, err := http.NewRequest(http.MethodGet, g.server.URL+"/required", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			r.Header.Add("Cookie", strings.NewReplacer("gw", cookieName, "VALID", valid, "ENDED", ended).Replace(line))
		}
		if got := g.do(r); got.StatusCode != http.StatusOK || got.ex.Facts.Session != "valid" || got.ex.Facts.Reason != "" {
			t.Errorf("%q: %d, %s, %q", lines, got.StatusCode, got.ex.Facts.Session, got.ex.Facts.Reason)
		}
	}
}

func TestCookieAttributesFollowThePolicy(t *testing.T) {
	g := newGateway(t, ringOf(t, "a"), nil)
	for _, tt := range []struct {
		sameSite string
		secure   bool
		want     http.SameSite
	}{{"lax", true, http.SameSiteLaxMode}, {"strict", false, http.SameSiteStrictMode}, {"none", true, http.SameSiteNoneMode}} {
		g.settings.Cookie.SameSite, g.settings.Cookie.Secure = tt.sameSite, tt.secure
		if c := g.get("/signal", "", `login {"user":"42"}`).set; c.SameSite != tt.want || c.Secure != tt.secure || !c.HttpOnly {
			t.Errorf("%s, secure %v: %+v", tt.sameSite, tt.secure, c)
		}
	}
}
