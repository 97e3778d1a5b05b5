package demo

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/websocket"
)

var noon = time.Date(2025, time.September, 10, 17, 0, 0, 0, time.UTC)

// backend is a demo with a client; the header is sent with every request.
type backend struct {
	t      *testing.T
	h      http.Handler
	header http.Header
}

func start(t *testing.T, cfg Config) *backend {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return noon }
	}
	return &backend{t, New(cfg), http.Header{}}
}

// do sends a request and fails the test if the status is another one.
func (b *backend) do(want int, method, target, body string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header = b.header.Clone()
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	if w.Code != want {
		b.t.Errorf("%s %s: status %d, want %d: %.200s", method, target, w.Code, want, w.Body)
	}
	return w
}

func (b *backend) get(target string) string { return b.do(200, "GET", target, "").Body.String() }

// as logs in and returns a backend for that user.
func (b *backend) as(name string) *backend {
	b.t.Helper()
	w := b.do(200, "POST", "/api/v5/auth/login", fmt.Sprintf(`{"email":"%s@example.org","password":%q}`, name, name))
	return &backend{b.t, b.h, http.Header{"Cookie": {w.Result().Cookies()[0].String()}}}
}

// has fails the test if the body of target lacks a text.
func (b *backend) has(target, text string) {
	b.t.Helper()
	if body := b.get(target); !strings.Contains(body, text) {
		b.t.Errorf("%s lacks %s: %.300s", target, text, body)
	}
}

func TestSizes(t *testing.T) {
	for seed := range uint64(3) {
		b := start(t, Config{Seed: seed})
		for query, want := range map[string]int{"": 93_000, "limit=50": 232_000, "limit=50&page=3&include_filter_options=true": 232_000} {
			if got := len(b.get("/api/v5/restaurants?" + query)); got < want*97/100 || got > want*103/100 {
				t.Errorf("a list with %q has %d bytes, want %d within 3 %%", query, got, want)
			}
		}
	}
}

// The drill's traffic uses these IDs.
func TestPopulation(t *testing.T) {
	b := start(t, Config{})
	for i := range 207 {
		b.get(fmt.Sprint("/api/v5/restaurants/", 1464+i*(1900-1464)/206))
	}
	for family, want := range map[string]int{"restaurants": 207, "synagogues": 149, "mikvahs": 40, "stores": 60} {
		b.has("/api/v5/"+family, fmt.Sprintf(`"total_count":%d`, want))
	}
	b.has("/api/v5/restaurants?include_filter_options=true", `"kosherCategories":["dairy","meat","pareve"]`)
}

func TestListsFollowTheQuery(t *testing.T) {
	b, again, other := start(t, Config{Seed: 5}), start(t, Config{Seed: 5}), start(t, Config{Seed: 6})
	const list = "/api/v5/restaurants?limit=50"
	seen := map[string]string{b.get(list): "no query"}
	for _, query := range []string{
		"kosher_category=dairy", "agency=OU", "city=Surfside", "priceRange=$$", "search=sushi", "ratingMin=4", "hoursFilter=openNow",
		"openNow=true", "latitude=25.7&longitude=-80&radius=10", "latitude=25.8&longitude=-80&radius=10", "bounds=25,-81,27,-80",
		"created_after=2025-05-01", "sort=distance_asc", "page=2", "cursor=7",
	} {
		target := list + "&" + query
		body := b.get(target)
		if seen[body] != "" || strings.Contains(body, `"data":[]`) || body != again.get(target) || body == other.get(target) {
			t.Errorf("%s: empty, or the same as with %q, or not determined by the seed", query, seen[body])
		}
		seen[body] = query
	}
	for _, query := range []string{"dietary=x&offset=3", "city=", "page=-1", "sort=up", "cursor=!"} {
		if got := b.get(list + "&" + query); seen[got] != "no query" {
			t.Errorf("%s changes the list", query)
		}
	}
}

func TestWrites(t *testing.T) {
	anyone := start(t, Config{})
	user, editor, admin := anyone.as("user"), anyone.as("demo"), anyone.as("admin")
	const one, body = "/api/v5/restaurants/1464", `{"name":"New name"}`
	tag := anyone.do(200, "GET", one, "").Header().Get("ETag")
	for _, tt := range []struct {
		by                   *backend
		want                 int
		method, target, body string
	}{
		{anyone, 401, "PUT", one, body},
		{editor, 403, "DELETE", one, ""},
		{editor, 404, "PUT", "/api/v5/restaurants/1", body},
		{editor, 400, "PUT", one, `{"name":5}`},
		{editor, 200, "PUT", one, body},
		{editor, 201, "POST", "/api/v5/stores", body},
		{editor, 201, "POST", "/api/v5/specials", `{"title":"Free tea","restaurant_id":1464}`},
		{user, 200, "POST", "/api/v5/specials/1/claim", ""},
		{user, 201, "POST", "/api/v5/reviews", `{"entity_type":"restaurant","entity_id":1464,"rating":4,"content":"Fine."}`},
		{anyone, 200, "POST", one + "/view", ""},
		{admin, 200, "DELETE", "/api/v5/restaurants/1900", ""},
		{admin, 404, "GET", "/api/v5/restaurants/1900", ""},
		{anyone, 413, "POST", "/api/v5/auth/login", strings.Repeat(" ", maxBody+1)},
	} {
		tt.by.do(tt.want, tt.method, tt.target, tt.body)
	}
	anyone.header.Set("If-None-Match", tag) // there is never a 304
	if w := anyone.do(200, "GET", one, ""); w.Header().Get("ETag") == tag || !strings.Contains(w.Body.String(), "New name") {
		t.Errorf("after the update: %v %s", w.Header(), w.Body)
	}
	anyone.has("/api/v5/stores", `"total_count":61`)
	anyone.has("/api/v5/reviews?entity_type=restaurant&entity_id=1464", `"total_count":3`)
}

func TestSessions(t *testing.T) {
	now := noon
	b := start(t, Config{Now: func() time.Time { return now }})
	b.do(401, "POST", "/api/v5/auth/login", `{"email":"demo@example.org","password":"no"}`)
	in := b.do(200, "POST", "/api/v5/auth/login", `{"email":"demo@example.org","password":"demo"}`)
	if got := in.Header().Get("X-Gw-Session"); got != `login {"roles":["editor"],"user":"42"}` || len(in.Result().Cookies()) != 2 {
		t.Errorf("login: %v", in.Header())
	}
	dina := b.as("demo")
	for after, cookies := range map[time.Duration]int{779 * time.Second: 0, 780 * time.Second: 2, 900 * time.Second: 0} {
		now = noon.Add(after)
		if got := len(dina.do(200, "GET", "/api/v5/stores", "").Result().Cookies()); got != cookies {
			t.Errorf("a GET %v after the login sets %d cookies, want %d", after, got, cookies)
		}
	}
	now = noon
	out := dina.do(200, "POST", "/api/v5/auth/logout", "")
	if c := out.Result().Cookies(); out.Header().Get("X-Gw-Session") != "logout" || len(c) != 2 || c[0].MaxAge >= 0 {
		t.Errorf("logout: %v", out.Header())
	}
	tokens := in.Result().Cookies()
	for _, token := range []string{"x" + tokens[0].Value, tokens[1].Value} { // a forged token, and the refresh token
		dina.header.Set("Cookie", "access_token="+token)
		dina.do(401, "GET", "/api/v5/auth/profile", "")
	}
	if w := b.do(200, "GET", "/api/v5/auth/csrf", ""); len(w.Result().Cookies()) != 1 || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("csrf: %v", w.Header())
	}
}

func TestProbes(t *testing.T) {
	b := start(t, Config{})
	for target, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/api/v5/debug/config": 200, "/api/v5/admin/users": 401, "/nothing": 404, "/socket.io/": 400,
		"/api/v5/search/suggest?q=piz": 200, "/api/v5/search/stores?q=olive": 200, "/api/v5/search/filters": 200,
		"/api/v5/mikvahs/filter-options": 200, "/api/v5/restaurants/x": 404,
	} {
		b.do(want, "GET", target, "")
	}
	b.as("admin").do(200, "GET", "/api/v5/admin/users", "")
	if got := b.do(200, "GET", "/api/v5/auth/.well-known/jwks.json", "").Header().Get("Cache-Control"); got != "public, max-age=300" {
		t.Errorf("Cache-Control %q", got)
	}
	const hook = "/webhook/mail?b=%2F&a;c"
	if w := b.do(200, "POST", hook, ""); !strings.Contains(w.Body.String(), `"target":"`+hook+`"`) {
		t.Errorf("a hook: %s", w.Body)
	}
	server := httptest.NewServer(b.h)
	defer server.Close()
	c, err := websocket.Dial("ws"+strings.TrimPrefix(server.URL, "http")+"/socket.io/?EIO=4", "", "http://jewgo.example")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var got string
	if err := cmp.Or(websocket.Message.Send(c, "40"), websocket.Message.Receive(c, &got)); err != nil || got != "40" {
		t.Errorf("40 came back as %q, %v", got, err)
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, began := start(t, Config{Latency: 200 * time.Millisecond}), time.Now()
		b.get("/healthz")
		b.get("/api/v5/stores")
		if took := time.Since(began); took != 200*time.Millisecond {
			t.Errorf("a list took %v", took)
		}
	})
}

func TestRequestsTogether(t *testing.T) {
	b := start(t, Config{}).as("admin")
	views := func() (n int) {
		_, rest, _ := strings.Cut(b.get("/api/v5/restaurants/1464"), `"view_count":`)
		_, _ = fmt.Sscan(strings.TrimRight(rest, "}\n"), &n)
		return n
	}
	before := views()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			b.get("/api/v5/restaurants?limit=50")
			b.do(200, "PUT", "/api/v5/restaurants/1464", `{"name":"Renamed"}`)
			b.do(200, "POST", "/api/v5/restaurants/1464/view", "")
		})
	}
	all.Wait()
	if n := views() - before; n != 4 {
		t.Errorf("%d views counted, want 4", n)
	}
}
