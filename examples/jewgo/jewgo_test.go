// Package jewgo_test runs the example under gunicorn, and tests the endpoints that the gateway's
// end-to-end tests need.
package jewgo_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// send makes a request and fails the test if the status differs.
func send(t *testing.T, want int, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if len(header) == 2 {
		r.Header.Set(header[0], header[1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		t.Errorf("%s %s: %s, %v, want %d: %.200s", method, url, resp.Status, err, want, text)
	}
	return resp, string(text)
}

func TestEndpoints(t *testing.T) {
	base := env.Flask(t)
	const list = "/api/v5/restaurants?limit=50&include_filter_options=true"
	if first, body := send(t, 200, "GET", base+list, ""); len(body) < 225_000 || len(body) > 239_000 || first.Header.Get("ETag") == "" {
		t.Errorf("a list of %d bytes, want 232,000 within 3 %%, with %v", len(body), first.Header)
	}
	for _, path := range []string{
		"restaurants/1464", "restaurants/1900", "synagogues?page=2", "mikvahs", "stores", "reviews?entity_type=restaurant&entity_id=1464",
		"specials", "auth/csrf", "search/suggest?q=piz", "debug/config", "echo",
	} {
		send(t, 200, "GET", base+"/api/v5/"+path, "")
	}
	send(t, 401, "PUT", base+"/api/v5/restaurants/1464", `{"name":"x"}`)
	in, _ := send(t, 200, "POST", base+"/api/v5/auth/login", `{"email":"demo@example.org","password":"demo","expires_in":60}`)
	if got := in.Header.Get("X-Gw-Session"); got != `login {"roles":["editor"],"user":"42"}` || len(in.Cookies()) != 2 {
		t.Errorf("login: %v", in.Header)
	}
	cookie := in.Cookies()[0].String()
	send(t, 200, "PUT", base+"/api/v5/restaurants/1900", `{"name":"Renamed"}`, "Cookie", cookie)
	if renewed, body := send(t, 200, "GET", base+list, "", "Cookie", cookie); len(renewed.Cookies()) != 2 || !strings.Contains(body, "Renamed") {
		t.Errorf("after the update: cookies %v", renewed.Cookies())
	}
	if out, _ := send(t, 200, "POST", base+"/api/v5/auth/logout", ""); out.Header.Get("X-Gw-Session") != "logout" || len(out.Cookies()) != 2 {
		t.Errorf("logout: %v", out.Header)
	}
}

func TestIdentity(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	file := filepath.Join(t.TempDir(), "identity.keys")
	if err := os.WriteFile(file, []byte("00c0ffee:"+base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	profile := env.Flask(t, "IDENTITY_KEYS="+file) + "/api/v5/auth/profile"
	signed := func(key []byte, kid, method, user string, life time.Duration) string {
		payload := fmt.Sprintf(`{"m":%q,"u":%q,"r":["editor"],"s":"x","exp":%d}`, method, user, time.Now().Add(life).Unix())
		head := "v1." + kid + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(head))
		return head + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	good := signed(key, "00c0ffee", "GET", "900", time.Minute) // a user that only the gateway knows
	send(t, 200, "GET", profile, "", "X-Gw-Identity", good)
	for name, header := range map[string]string{
		"another key": signed([]byte("other"), "00c0ffee", "GET", "42", time.Minute), "an empty key id": signed(nil, "", "GET", "42", time.Minute),
		"an unknown key id": signed(key, "11111111", "GET", "42", time.Minute), "another method": signed(key, "00c0ffee", "PUT", "42", time.Minute),
		"expired": signed(key, "00c0ffee", "GET", "42", -time.Second), "nobody": signed(key, "00c0ffee", "GET", "", time.Minute),
		"another version": strings.Replace(good, "v1.", "v2.", 1), "not base64": "v1.00c0ffee.!.!", "one dot": "v1.x",
	} {
		t.Run(name, func(t *testing.T) { send(t, 401, "GET", profile, "", "X-Gw-Identity", header) })
	}
}
