package session_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/policy"
)

// verify is what an upstream does, written from the format's description.
func verify(value, method string, now time.Time, keys map[string]string) (map[string]any, error) {
	signed, mac, ok := cutLast(value, ".")
	parts := strings.Split(signed, ".")
	if !ok || len(parts) != 3 || parts[0] != "v1" {
		return nil, errors.New("malformed")
	}
	key, ok := keys[parts[1]]
	if !ok {
		return nil, errors.New("unknown key")
	}
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(signed))
	if mac != base64.RawURLEncoding.EncodeToString(h.Sum(nil)) {
		return nil, errors.New("bad signature")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, err
	}
	var p map[string]any
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, err
	}
	if p["m"] != method {
		return nil, errors.New("wrong method")
	}
	if float64(now.Unix()) >= p["exp"].(float64) {
		return nil, errors.New("expired")
	}
	return p, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func caller(ttl time.Duration) *exchange.Exchange {
	return &exchange.Exchange{
		View: policy.View{Method: "PUT"},
		Snapshot: &policy.Snapshot{Policy: &policy.Policy{Session: policy.Session{
			Identity: policy.Identity{Header: "X-Gw-Identity", TTL: policy.Duration(ttl)},
		}}},
		Principal: exchange.Principal{SessionID: "0123abcd", User: "42", Roles: []string{"editor", "ünï"}},
	}
}

func TestIdentityConvincesAVerifierAndOnlyForItsRequest(t *testing.T) {
	now := func() time.Time { return start }
	name, value := session.NewIdentity(ringOf(t, "ba"), now).Header(caller(30 * time.Second))
	if name != "X-Gw-Identity" {
		t.Errorf("name %q", name)
	}
	keys := map[string]string{"key-a": strings.Repeat("a", 32), "key-b": strings.Repeat("b", 32)}
	got, err := verify(value, "PUT", start, keys)
	want := map[string]any{
		"m": "PUT", "u": "42", "r": []any{"editor", "ünï"}, "s": "0123abcd", "exp": float64(start.Unix() + 30),
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v\n%s", err, diff)
	}
	forged, _, _ := cutLast(value, ".")
	for _, tt := range []struct {
		says, value, method string
		at                  time.Time
		keys                map[string]string
		want                string
	}{
		{"another method", value, "DELETE", start, keys, "wrong method"},
		{"just before its end", value, "PUT", start.Add(29 * time.Second), keys, ""},
		{"at its end", value, "PUT", start.Add(30 * time.Second), keys, "expired"},
		{"without the newest key", value, "PUT", start, map[string]string{"key-a": keys["key-a"]}, "unknown key"},
		{"an older key under the name of the newest", value, "PUT", start, map[string]string{"key-b": keys["key-a"]}, "bad signature"},
		{"a signature left out", forged + ".", "PUT", start, keys, "bad signature"},
		{"a changed key ID", strings.Replace(value, "key-b", "key-a", 1), "PUT", start, keys, "bad signature"},
	} {
		_, err := verify(tt.value, tt.method, tt.at, tt.keys)
		if msg := errText(err); msg != tt.want {
			t.Errorf("%s: %q, want %q", tt.says, msg, tt.want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestIdentityLastsAtMostAMinute(t *testing.T) {
	_, value := session.NewIdentity(ringOf(t, "a"), func() time.Time { return start }).Header(caller(time.Hour))
	keys := map[string]string{"key-a": strings.Repeat("a", 32)}
	if _, err := verify(value, "PUT", start.Add(61*time.Second), keys); errText(err) != "expired" {
		t.Errorf("after 61 s: %v", err)
	}
}

func TestIdentityOfWhomAndToWhom(t *testing.T) {
	identity := session.NewIdentity(ringOf(t, "a"), nil)
	for _, tt := range []struct {
		says   string
		change func(*exchange.Exchange)
		want   bool
	}{
		{"a user has one", func(*exchange.Exchange) {}, true},
		{"a guest with a session has one", func(ex *exchange.Exchange) { ex.Principal.User, ex.Principal.Roles = "", nil }, true},
		{"nobody known has none", func(ex *exchange.Exchange) { ex.Principal = exchange.Principal{} }, false},
		{"a shared fill has none", func(ex *exchange.Exchange) { ex.Plan = &exchange.Plan{Shared: true} }, false},
		{"a private one has", func(ex *exchange.Exchange) { ex.Plan = &exchange.Plan{} }, true},
	} {
		ex := caller(time.Minute)
		tt.change(ex)
		if _, value := identity.Header(ex); (value != "") != tt.want {
			t.Errorf("%s: %q", tt.says, value)
		}
	}
}
