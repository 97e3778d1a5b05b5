// Package flask_test runs the Flask example under gunicorn and compares it,
// request by request, with the same backend in Go.
package flask_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jewgo/gateway/internal/demo"
	"github.com/jewgo/gateway/test/env"
)

// side is one of the two backends, with a client of its own.
type side struct {
	t      *testing.T
	base   string
	client *http.Client
}

// newSide keeps cookies from one request to the next.
func newSide(t *testing.T, base string) *side {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &side{t, base, &http.Client{Jar: jar, Transport: transport, Timeout: 30 * time.Second}}
}

func both(t *testing.T, vars ...string) (inGo, inFlask *side) {
	t.Helper()
	s := httptest.NewServer(demo.New(demo.Config{Now: func() time.Time { return env.OpenAt }}))
	t.Cleanup(s.Close)
	return newSide(t, s.URL), newSide(t, env.Flask(t, vars...))
}

type answer struct {
	status int
	header http.Header
	body   string
	// cookies by name, with their attributes and without their values
	cookies map[string]http.Cookie
}

func (s *side) do(method, target, body string, header http.Header) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.base+target, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	resp, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := answer{resp.StatusCode, resp.Header, string(text), map[string]http.Cookie{}}
	for _, c := range resp.Cookies() {
		a.cookies[c.Name] = http.Cookie{
			Path: c.Path, Domain: c.Domain, MaxAge: c.MaxAge, Secure: c.Secure, HttpOnly: c.HttpOnly, SameSite: c.SameSite,
		}
	}
	return a
}

// keys are the paths of all members of a JSON text, without array indices.
func keys(t *testing.T, text string) []string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %.200q", err, text)
	}
	found := map[string]bool{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				found[path+"."+name] = true
				walk(path+"."+name, member)
			}
		case []any:
			for _, element := range v {
				walk(path+"[]", element)
			}
		}
	}
	walk("", v)
	return slices.Sorted(maps.Keys(found))
}

// The same requests, in this order, to both. What login decides is written
// out: a client keeps its cookies.
var requests = []struct {
	method, target, body string
	differs              bool // the bodies: tokens and times
}{
	{method: "GET", target: "/healthz"},
	{method: "GET", target: "/readyz"},
	{method: "GET", target: "/health"},
	{method: "GET", target: "/api/v5/restaurants"},
	{method: "HEAD", target: "/api/v5/restaurants"},
	{method: "GET", target: "/api/v5/restaurants?page=1&limit=50&include_filter_options=true"},
	{method: "GET", target: "/api/v5/restaurants?page=5&limit=50"},
	{method: "GET", target: "/api/v5/restaurants?limit=7&cursor=MTA"},
	{method: "GET", target: "/api/v5/restaurants?cursor=!"},
	{method: "GET", target: "/api/v5/restaurants?limit=x&page=0&ratingMin=nan&dietary=1"},
	{method: "GET", target: "/api/v5/restaurants?kosher_category=Dairy&agency=ou"},
	{method: "GET", target: "/api/v5/restaurants?search=miami&sort=name_asc&priceRange=%24,%24%24"},
	{method: "GET", target: "/api/v5/restaurants?hoursFilter=lateNight&ratingMin=4.2&sort=rating_desc"},
	{method: "GET", target: "/api/v5/restaurants?hoursFilter=morning&city=Brooklyn"},
	{method: "GET", target: "/api/v5/restaurants?openNow=true&kosherDetails=Glatt&limit=50"},
	{method: "GET", target: "/api/v5/restaurants?created_after=2025-06-01T00:00:00Z&bounds=25,-81,27,-80"},
	{method: "GET", target: "/api/v5/restaurants?latitude=40.7&longitude=-74&radius=50&sort=distance_asc", differs: true},
	{method: "GET", target: "/api/v5/restaurants?latitude=40.7&longitude=-74&maxDistanceMi=10&sort=distance_desc", differs: true},
	{method: "GET", target: "/api/v5/restaurants/1464"},
	{method: "GET", target: "/api/v5/restaurants/1900"},
	{method: "GET", target: "/api/v5/restaurants/1"},
	{method: "GET", target: "/api/v5/restaurants/x"},
	{method: "GET", target: "/api/v5/restaurants/filter-options"},
	{method: "GET", target: "/api/v5/synagogues?limit=50&page=3"},
	{method: "GET", target: "/api/v5/synagogues/149"},
	{method: "GET", target: "/api/v5/synagogues/filter-options"},
	{method: "GET", target: "/api/v5/mikvahs"},
	{method: "GET", target: "/api/v5/stores"},
	{method: "GET", target: "/api/v5/castles"},
	{method: "GET", target: "/api/v5/search/?q=pizza&limit=100"},
	{method: "GET", target: "/api/v5/search?types=stores&types=mikvahs&limit=100&page=1"},
	{method: "GET", target: "/api/v5/search/synagogues?q=miami"},
	{method: "GET", target: "/api/v5/search/castles"},
	{method: "GET", target: "/api/v5/search/suggest?q=gri"},
	{method: "GET", target: "/api/v5/search/suggest?q=g"},
	{method: "GET", target: "/api/v5/search/filters"},
	{method: "GET", target: "/api/v5/search/popular"},
	{method: "GET", target: "/api/v5/reviews?entity_type=restaurants&entity_id=1464&limit=10"},
	{method: "GET", target: "/api/v5/reviews/"},
	{method: "GET", target: "/api/v5/reviews/1"},
	{method: "GET", target: "/api/v5/reviews/9999"},
	{method: "GET", target: "/api/v5/reviews/restaurants/1464/stats"},
	{method: "GET", target: "/api/v5/specials"},
	{method: "GET", target: "/api/v5/specials/3"},
	{method: "GET", target: "/api/v5/specials/99"},
	{method: "GET", target: "/api/v5/feature-flags"},
	{method: "GET", target: "/api/v5/debug/config"},
	{method: "GET", target: "/api/v5/auth/.well-known/jwks.json"},
	{method: "GET", target: "/api/v5/auth/csrf", differs: true},
	{method: "POST", target: "/webhook/github", body: "a\x00b\r\n"},
	{method: "GET", target: "/api/v5/stream?n=3&ms=1"},
	{method: "GET", target: "/nothing"},
	{method: "PATCH", target: "/api/v5/restaurants"},

	// nobody is logged in
	{method: "GET", target: "/api/v5/auth/profile"},
	{method: "GET", target: "/admin/users"},
	{method: "GET", target: "/monitoring/redis"},
	{method: "PUT", target: "/api/v5/restaurants/1464", body: `{"name":"x"}`},
	{method: "POST", target: "/api/v5/restaurants", body: `{"name":"x"}`},
	{method: "DELETE", target: "/api/v5/restaurants/1464"},
	{method: "POST", target: "/api/v5/reviews", body: `{}`},
	{method: "POST", target: "/api/v5/auth/refresh"},
	{method: "POST", target: "/api/v5/auth/login", body: `{"email":"demo@example.org","password":"no"}`},
	{method: "POST", target: "/api/v5/auth/login", body: `no JSON`},
	{method: "POST", target: "/api/v5/restaurants/1464/view"},
	{method: "POST", target: "/api/v5/restaurants/1464/favorite"},
	{method: "POST", target: "/api/v5/restaurants/1/share"},

	// a guest
	{method: "POST", target: "/api/v5/auth/guest", differs: true},
	{method: "POST", target: "/api/v5/reviews", body: `{}`},

	// an editor
	{method: "POST", target: "/api/v5/auth/login", body: `{"email":"demo@example.org","password":"demo"}`, differs: true},
	{method: "GET", target: "/api/v5/auth/profile"},
	{method: "GET", target: "/api/v5/auth/me"},
	{method: "PUT", target: "/api/v5/restaurants/1464", body: `{"name":"Renamed","id":3}`, differs: true},
	{method: "PUT", target: "/api/v5/restaurants/1464", body: `{"name":3}`},
	{method: "PUT", target: "/api/v5/restaurants/1", body: `{"name":"x"}`},
	{method: "DELETE", target: "/api/v5/restaurants/1464"},
	{method: "GET", target: "/api/v5/restaurants?search=renamed", differs: true},
	{method: "POST", target: "/api/v5/restaurants", body: `{"name":"Brand new","city":"Brooklyn"}`, differs: true},
	{method: "POST", target: "/api/v5/restaurants", body: `{"city":"Brooklyn"}`},
	{method: "GET", target: "/api/v5/restaurants", differs: true},
	{method: "POST", target: "/api/v5/reviews", body: `{"entity_type":"stores","entity_id":1,"rating":2,"content":"Cold."}`, differs: true},
	{method: "POST", target: "/api/v5/reviews", body: `{"entity_type":"stores","entity_id":1,"rating":7,"content":"Cold."}`},
	{method: "PUT", target: "/api/v5/reviews/139", body: `{"rating":3}`, differs: true},
	{method: "PUT", target: "/api/v5/reviews/1", body: `{"rating":3}`},
	{method: "GET", target: "/api/v5/stores/1", differs: true},
	{method: "DELETE", target: "/api/v5/reviews/139"},
	{method: "POST", target: "/api/v5/specials", body: `{"restaurant_id":1464,"title":"Free tea"}`, differs: true},
	{method: "PATCH", target: "/api/v5/specials/3", body: `{"active":false}`},
	{method: "POST", target: "/api/v5/specials/3/claim"},
	{method: "POST", target: "/api/v5/specials/3/redeem"},
	{method: "GET", target: "/admin/users"},
	{method: "POST", target: "/api/v5/auth/refresh", differs: true},
	{method: "POST", target: "/api/v5/auth/logout"},
	{method: "GET", target: "/api/v5/auth/profile"},

	// a short token: every GET renews it
	{method: "POST", target: "/api/v5/auth/login", body: `{"email":"admin@example.org","password":"admin","expires_in":60}`, differs: true},
	{method: "GET", target: "/api/v5/synagogues"},
	{method: "GET", target: "/api/v5/synagogues"},
	{method: "GET", target: "/admin/users"},
	{method: "DELETE", target: "/api/v5/restaurants/1464"},
	{method: "POST", target: "/api/v5/auth/logout"},

	// someone new
	{method: "POST", target: "/api/v5/auth/register", body: `{"email":"n@example.org","password":"p","name":"N"}`, differs: true},
	{method: "POST", target: "/api/v5/auth/register", body: `{"email":"n@example.org","password":"p","name":"N"}`},
	{method: "POST", target: "/api/v5/auth/change-password", body: `{"current_password":"x","new_password":"q"}`},
	{method: "POST", target: "/api/v5/auth/change-password", body: `{"current_password":"p","new_password":"q"}`},
	{method: "GET", target: "/__stats"},
}

func TestBothBackendsAnswerAlike(t *testing.T) {
	inGo, inFlask := both(t)
	for _, q := range requests {
		t.Run(q.method+" "+q.target, func(t *testing.T) {
			a, b := inGo.do(q.method, q.target, q.body, nil), inFlask.do(q.method, q.target, q.body, nil)
			if a.status != b.status {
				t.Fatalf("Go %d, Flask %d: %.200s", a.status, b.status, b.body)
			}
			names := []string{"Cache-Control", "X-Gw-Session"}
			if !q.differs {
				names = append(names, "ETag")
				if a.body != b.body {
					t.Errorf("bodies differ:\n%s", cmp.Diff(a.body, b.body))
				}
			} else if diff := cmp.Diff(keys(t, a.body), keys(t, b.body)); diff != "" {
				t.Errorf("members differ:\n%s", diff)
			}
			if len(a.body) > len(b.body)*105/100 || len(b.body) > len(a.body)*105/100 {
				t.Errorf("sizes: Go %d, Flask %d", len(a.body), len(b.body))
			}
			for _, name := range names {
				if x, y := a.header.Get(name), b.header.Get(name); x != y {
					t.Errorf("%s: Go %q, Flask %q", name, x, y)
				}
			}
			mediaType := func(h http.Header) string { s, _, _ := strings.Cut(h.Get("Content-Type"), ";"); return s }
			if x, y := mediaType(a.header), mediaType(b.header); x != y {
				t.Errorf("Content-Type: Go %q, Flask %q", x, y)
			}
			if diff := cmp.Diff(a.cookies, b.cookies, cmp.AllowUnexported(http.Cookie{})); diff != "" {
				t.Errorf("cookies differ:\n%s", diff)
			}
		})
	}
}

func TestEchoesAlike(t *testing.T) {
	inGo, inFlask := both(t)
	for _, target := range []string{"/api/v5/echo", "/api/v5/echo?a=1&a=2&b=%2F;c", "/api/v5/ech%6f?x"} {
		var heard [2]map[string]any
		for i, s := range []*side{inGo, inFlask} {
			a := s.do("POST", target, "body", http.Header{"X-Thing": {"1", "2"}})
			if err := json.Unmarshal([]byte(a.body), &heard[i]); err != nil {
				t.Fatalf("%v in %.200q", err, a.body)
			}
			delete(heard[i]["headers"].(map[string]any), "Host")
		}
		if diff := cmp.Diff(heard[0], heard[1]); diff != "" {
			t.Errorf("%s:\n%s", target, diff)
		}
	}
}

func TestStreamIsFlushed(t *testing.T) {
	resp, err := http.Get(env.Flask(t) + "/api/v5/stream?n=20&ms=1000")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	began := time.Now()
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if line != "data: 0\n" || time.Since(began) > 10*time.Second {
		t.Errorf("first line %q after %v, %v", line, time.Since(began), err)
	}
}

// TestIdentity holds the shim against headers as the gateway signs them.
func TestIdentity(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	file := filepath.Join(t.TempDir(), "identity.keys")
	lines := "0000beef:" + base64.StdEncoding.EncodeToString([]byte("another")) + "\n00c0ffee:" + base64.StdEncoding.EncodeToString(key) + "\n"
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	signed := func(key []byte, kid, payload string) string {
		head := "v1." + kid + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(head))
		return head + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	exp := time.Now().Add(time.Minute).Unix()
	payload := func(method, user string, exp int64) string {
		return fmt.Sprintf(`{"m":%q,"u":%q,"r":["editor"],"s":"x","exp":%d}`, method, user, exp)
	}
	good := payload("GET", "42", exp)
	flask := newSide(t, env.Flask(t, "IDENTITY_KEYS="+file))
	for _, tt := range []struct {
		name, header string
		want         int
	}{
		{"signed by the gateway", signed(key, "00c0ffee", good), 200},
		{"signed with the newer key", signed([]byte("another"), "0000beef", good), 200},
		{"a user that only the gateway knows", signed(key, "00c0ffee", payload("GET", "900", exp)), 200},
		{"signed with another key", signed([]byte("other"), "00c0ffee", good), 401},
		{"an unknown key id", signed(key, "11111111", good), 401},
		{"an empty key id", signed(nil, "", good), 401},
		{"another method", signed(key, "00c0ffee", payload("PUT", "42", exp)), 401},
		{"expired", signed(key, "00c0ffee", payload("GET", "42", time.Now().Unix()-1)), 401},
		{"nobody", signed(key, "00c0ffee", payload("GET", "", exp)), 401},
		{"another version", strings.Replace(signed(key, "00c0ffee", good), "v1.", "v2.", 1), 401},
		{"not base64", "v1.00c0ffee.!.!", 401},
		{"one dot", "v1.x", 401},
	} {
		a := flask.do("GET", "/api/v5/auth/profile", "", http.Header{"X-Gw-Identity": {tt.header}})
		if a.status != tt.want {
			t.Errorf("%s: %d, want %d: %s", tt.name, a.status, tt.want, a.body)
		}
	}
	a := flask.do("PUT", "/api/v5/restaurants/1464", `{"name":"Renamed"}`,
		http.Header{"X-Gw-Identity": {signed(key, "00c0ffee", payload("PUT", "900", exp))}})
	if a.status != 200 {
		t.Errorf("an editor's PUT: %d: %s", a.status, a.body)
	}
}
