package admin_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/jewgo/gateway/internal/admin"
)

// handler is an admin handler whose reload fails while fail is set.
func handler(change func(*admin.Config)) http.Handler {
	cfg := admin.Config{
		Token:      "secret",
		Address:    "127.0.0.1:9901",
		Conditions: func() []admin.Condition { return nil },
		Policy:     func() admin.PolicyInForce { return admin.PolicyInForce{File: "gateway.yaml", Digest: "0123456789ab"} },
		Reload:     func() error { return nil },
		Redis:      func(context.Context) any { return map[string]string{"state": "up"} },
		Status:     func() any { return map[string]any{} },
		History:    func() any { return map[string]any{} },
		Routes:     func() any { return map[string]any{} },
		Metrics:    http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("numbers")) }),
	}
	if change != nil {
		change(&cfg)
	}
	return admin.New(cfg)
}

func ask(h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Host = "localhost"
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func basic(token string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("operator:"+token))
}

func TestReadyz(t *testing.T) {
	up := admin.Condition{Name: "redis", Detail: "up"}
	degraded := admin.Condition{Name: "redis", Level: admin.Degraded, Detail: "away"}
	draining := admin.Condition{Name: "process", Level: admin.NotReady, Detail: "draining"}
	for _, tc := range []struct {
		sentence   string
		conditions []admin.Condition
		status     int
		body       string
	}{
		{"no conditions are ok", nil, 200, "ok\n"},
		{
			"Serves is listed, and a warning does not change the level",
			[]admin.Condition{{Name: "redis", Detail: "up", Serves: []string{"limits: Redis", "cache: memory"}, Warnings: []string{"nearly full"}}},
			200, "ok\n[+] redis: up\n    limits: Redis\n    cache: memory\n[!] redis: nearly full\n",
		},
		{"all parts ok", []admin.Condition{up}, 200, "ok\n[+] redis: up\n"},
		{"degraded serves, so it is ready", []admin.Condition{up, degraded}, 200, "degraded\n[+] redis: up\n[~] redis: away\n"},
		{"draining is not ready, whatever the other parts are", []admin.Condition{degraded, draining}, 503, "not ready\n[~] redis: away\n[-] process: draining\n"},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			h := handler(func(c *admin.Config) { c.Conditions = func() []admin.Condition { return tc.conditions } })
			if w := ask(h, "GET", "/readyz?verbose"); w.Code != tc.status || w.Body.String() != tc.body {
				t.Errorf("%d %q", w.Code, w.Body.String())
			}
			first, _, _ := strings.Cut(tc.body, "\n")
			if w := ask(h, "GET", "/readyz"); w.Code != tc.status || w.Body.String() != first+"\n" {
				t.Errorf("without verbose: %d %q", w.Code, w.Body.String())
			}
		})
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	guarded := func(c *admin.Config) { c.Address, c.TokenForReads = "127.0.0.1:9901", true }
	unix := func(c *admin.Config) { c.Address = "unix:/run/admin.sock" }
	noToken := func(c *admin.Config) { c.Token = "" }
	loopback := func(c *admin.Config) { c.Address = "127.0.0.1:9901" }
	outside := func(c *admin.Config) { c.Address = "192.0.2.1:9901" }
	every := func(c *admin.Config) { c.Address = ":9901" }
	for _, tc := range []struct {
		sentence     string
		change       func(*admin.Config)
		method, path string
		header       []string
		status       int
	}{
		{"health needs no token", guarded, "GET", "/livez", nil, 200},
		{"readiness too", guarded, "GET", "/readyz", nil, 200},
		{"metrics need no token", guarded, "GET", "/metrics", nil, 200},
		{"nor do they elsewhere", outside, "GET", "/metrics", nil, 200},
		{"reads are open on loopback", loopback, "GET", "/v1/config", nil, 200},
		{"and on a unix socket", unix, "GET", "/v1/config", nil, 200},
		{"reads need the token elsewhere", outside, "GET", "/v1/config", nil, 401},
		{"on every address", every, "GET", "/v1/config", nil, 401},
		{"and given", outside, "GET", "/v1/config", []string{"Authorization", "Bearer secret"}, 200},
		{"a token in the URL is none", outside, "GET", "/v1/config?access_token=secret&token=secret", nil, 401},
		{"reads need the token if configured", guarded, "GET", "/v1/config", nil, 401},
		{"profiles always need it", loopback, "GET", "/debug/pprof/", nil, 401},
		{"profiles with the token", loopback, "GET", "/debug/pprof/cmdline", []string{"Authorization", "Bearer secret"}, 200},
		{"changes need the token", nil, "POST", "/v1/reload", nil, 401},
		{"the right one", nil, "POST", "/v1/reload", []string{"Authorization", "Bearer wrong"}, 401},
		{"as a bearer", nil, "POST", "/v1/reload", []string{"Authorization", "secret"}, 401},
		{"the dashboard is open on loopback", loopback, "GET", "/config", nil, 200},
		{"and asks for the token elsewhere", outside, "GET", "/", nil, 401},
		{"as a password", outside, "GET", "/", []string{"Authorization", basic("secret")}, 200},
		{"the right one", outside, "GET", "/", []string{"Authorization", basic("wrong")}, 401},
		{"its style too", outside, "GET", "/static/style.css", nil, 401},
		{"and its events", outside, "GET", "/events?page=/", nil, 401},
		{"it asks before a change only who has the token", loopback, "GET", "/reload", nil, 401},
		{"and makes none without", loopback, "POST", "/reload", nil, 401},
		{"nor for another site, whose form a browser sends with the password", loopback, "POST", "/reload", []string{"Authorization", basic("secret"), "Sec-Fetch-Site", "cross-site"}, 403},
		{"nor by its origin", loopback, "POST", "/reload", []string{"Authorization", basic("secret"), "Origin", "http://evil.example"}, 403},
		{"nor without the form's secret", loopback, "POST", "/reload", []string{"Authorization", basic("secret"), "Sec-Fetch-Site", "same-origin"}, 403},
		{"the API takes no password, which browsers send by themselves", loopback, "POST", "/v1/reload", []string{"Authorization", basic("secret")}, 401},
		{"changes with the token are made", nil, "POST", "/v1/reload", []string{"Authorization", "Bearer secret"}, 200},
		{"an empty token never matches", noToken, "POST", "/v1/reload", []string{"Authorization", "Bearer "}, 401},
		{"a unix socket needs no token", unix, "POST", "/v1/reload", nil, 200},
		{"but does for what a proxy forwards", unix, "POST", "/v1/reload", []string{"X-Forwarded-For", "203.0.113.7"}, 401},
		{"reads too", unix, "GET", "/v1/config", []string{"Forwarded", "for=203.0.113.7"}, 401},
		{"a page of another site is refused", unix, "POST", "/v1/reload", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a change needs POST", nil, "GET", "/v1/reload", nil, 405},
		{"the Redis page is a read", guarded, "GET", "/v1/redis", nil, 401},
		{"the Redis page with the token", guarded, "GET", "/v1/redis", []string{"Authorization", "Bearer secret"}, 200},
		{"and no change", nil, "POST", "/v1/redis", nil, 405},
		{"an unknown path", nil, "GET", "/nothing", nil, 404},
		{"a change of the policy that is in force", nil, "POST", "/v1/reload", []string{"Authorization", "Bearer secret", "If-Match", `"0123456789ab"`}, 200},
		{"or of another", nil, "POST", "/v1/reload", []string{"Authorization", "Bearer secret", "If-Match", `"ba9876543210"`}, 412},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			if w := ask(handler(tc.change), tc.method, tc.path, tc.header...); w.Code != tc.status {
				t.Errorf("%d %s", w.Code, w.Body.String())
			}
		})
	}
}

func TestOnLoopbackOnlyItsOwnNamesAreServed(t *testing.T) {
	loopback, outside := net.IPv4(127, 0, 0, 1), net.IPv4(192, 0, 2, 1)
	for _, tc := range []struct {
		sentence, host string
		local          net.IP
		status         int
	}{
		{"an address", "127.0.0.1:9901", loopback, 200},
		{"without a port", "127.0.0.1", loopback, 200},
		{"loopback over IPv6", "[::1]:9901", loopback, 200},
		{"localhost", "localhost:9901", loopback, 200},
		{"the policy's name", "box:9901", loopback, 200},
		{"a rebound name", "evil.example:9901", loopback, 421},
		{"a rebound name without a port", "evil.example", loopback, 421},
		{"no name, as a load balancer's check over HTTP/1.0", "", loopback, 200},
		{"elsewhere any name", "gateway-1:9901", outside, 200},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/metrics", nil)
			r.Host = tc.host
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: tc.local, Port: 9901}))
			w := httptest.NewRecorder()
			handler(func(c *admin.Config) { c.Address = "box:9901" }).ServeHTTP(w, r)
			if w.Code != tc.status {
				t.Errorf("status %d, want %d", w.Code, tc.status)
			}
		})
	}
}

// ssh may forward a unix socket to a port that browsers reach.
func TestOverAUnixSocketNoReboundNameIsServed(t *testing.T) {
	h := handler(func(c *admin.Config) { c.Address = "unix:/run/admin.sock" })
	for host, status := range map[string]int{"": 200, "gateway": 200, "localhost:9901": 200, "127.0.0.1:9901": 200, "evil.example:9901": 421} {
		r := httptest.NewRequest("POST", "/v1/reload", nil)
		r.Host = host
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != status {
			t.Errorf("%q: status %d, want %d", host, w.Code, status)
		}
	}
}

func TestAFailedReloadSaysWhy(t *testing.T) {
	h := handler(func(c *admin.Config) { c.Reload = func() error { return errors.New("gateway.yaml:1:1: wrong") } })
	w := ask(h, "POST", "/v1/reload", "Authorization", "Bearer secret")
	if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "gateway.yaml:1:1: wrong") {
		t.Errorf("%d %s", w.Code, w.Body.String())
	}
}

func TestRedis(t *testing.T) {
	w := ask(handler(nil), "GET", "/v1/redis")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" || w.Body.String() != "{\n  \"state\": \"up\"\n}\n" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body.String())
	}
	unfit := func(c *admin.Config) { c.Redis = func(context.Context) any { return func() {} } }
	if w := ask(handler(unfit), "GET", "/v1/redis"); w.Code != 500 || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("a value that JSON cannot encode: %d %v %s", w.Code, w.Header(), w.Body.String())
	}
	none := func(c *admin.Config) { c.Redis = nil }
	if w := ask(handler(none), "GET", "/v1/redis"); w.Code != 404 {
		t.Errorf("no page: %d", w.Code)
	}
}

func TestErrorsAreProblems(t *testing.T) {
	for path, want := range map[string]string{"/nothing": "GET /v1 lists them", "/v1/reload": "the page takes POST", "/v1/": "GET /v1 lists them"} {
		w := ask(handler(nil), "GET", path)
		if w.Header().Get("Content-Type") != "application/problem+json" || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %v %s", path, w.Code, w.Header(), w.Body)
		}
	}
	if w := ask(handler(nil), "GET", "/v1/reload"); w.Header().Get("Allow") != "POST" {
		t.Errorf("Allow: %q", w.Header().Get("Allow"))
	}
}

// The description of the API has the pages that there are.
func TestOpenAPI(t *testing.T) {
	all := handler(func(c *admin.Config) {
		c.Address = "127.0.0.1:9901"
		c.Limits, c.Cache, c.Purges, c.Sessions = struct{ admin.Limits }{}, struct{ admin.Cache }{}, struct{ admin.Purges }{}, struct{ admin.Sessions }{}
		c.Upstreams = func() any { return nil }
		c.Status, c.Warm = c.Upstreams, struct{ admin.Warm }{}
		c.Explain = func(context.Context, url.Values) (any, error) { return nil, nil }
	})
	var index struct {
		Pages []struct{ Method, Path string }
	}
	if err := json.Unmarshal(ask(all, "GET", "/v1").Body.Bytes(), &index); err != nil {
		t.Fatal(err)
	}
	var pages []string
	for _, p := range index.Pages {
		if strings.HasPrefix(p.Path, "/v1") {
			pages = append(pages, strings.ToLower(p.Method)+" "+p.Path)
		}
	}
	var description struct {
		OpenAPI string `yaml:"openapi"`
		Paths   map[string]map[string]struct {
			Summary   string         `yaml:"summary"`
			Responses map[string]any `yaml:"responses"`
		} `yaml:"paths"`
	}
	if err := yaml.Unmarshal(ask(all, "GET", "/v1/openapi.yaml").Body.Bytes(), &description); err != nil {
		t.Fatal(err)
	}
	var described []string
	for path, methods := range description.Paths {
		for method, m := range methods {
			described = append(described, method+" "+path)
			if m.Summary == "" || len(m.Responses) == 0 {
				t.Errorf("%s %s lacks a summary or responses", method, path)
			}
		}
	}
	slices.Sort(pages)
	slices.Sort(described)
	if !slices.Equal(pages, described) || len(pages) < 15 {
		t.Errorf("pages:\n%s\ndescribed:\n%s", strings.Join(pages, "\n"), strings.Join(described, "\n"))
	}
	if !strings.HasPrefix(description.OpenAPI, "3.1.") {
		t.Errorf("version %q", description.OpenAPI)
	}
}
