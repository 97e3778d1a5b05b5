package redisurl

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		url, user, password string
		addrs               []string
		db                  int
		service             string
		cluster, tls        bool
	}{
		{url: "redis://h", addrs: []string{"h:6379"}},
		{url: "redis://h:7000", addrs: []string{"h:7000"}},
		{url: "redis://h:7000/3", addrs: []string{"h:7000"}, db: 3},
		{url: "redis://h/3?db=4", addrs: []string{"h:6379"}, db: 4},
		{url: "redis://[::1]", addrs: []string{"[::1]:6379"}},
		{url: "redis://[::1]:7000/", addrs: []string{"[::1]:7000"}},
		{url: "redis://:pass@h", password: "pass", addrs: []string{"h:6379"}},
		{url: "redis://user:p%40ss%2F%23%3F@h", user: "user", password: "p@ss/#?", addrs: []string{"h:6379"}},
		{url: "redis://user:p@ss@h", user: "user", password: "p@ss", addrs: []string{"h:6379"}},
		{url: "rediss://u:p@h:1", user: "u", password: "p", addrs: []string{"h:1"}, tls: true},
		{url: "unix:///run/redis.sock", addrs: []string{"/run/redis.sock"}},
		{url: "unix://u:p@/run/redis.sock?db=2", user: "u", password: "p", addrs: []string{"/run/redis.sock"}, db: 2},
		{url: "redis+sentinel://u:p@a:1,b,[::1]:3/main?db=2", user: "u", password: "p", addrs: []string{"a:1", "b:26379", "[::1]:3"}, db: 2, service: "main"},
		{url: "rediss+sentinel://a/main", addrs: []string{"a:26379"}, service: "main", tls: true},
		{url: "redis+cluster://:p@a:1,b", password: "p", addrs: []string{"a:1", "b:6379"}, cluster: true},
		{url: "rediss+cluster://a", addrs: []string{"a:6379"}, cluster: true, tls: true},
	} {
		o, err := Parse(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if o.User != tt.user || o.Password != tt.password || !slices.Equal(o.Addrs, tt.addrs) || o.DB != tt.db ||
			o.Service != tt.service || o.Cluster != tt.cluster || o.TLS != tt.tls {
			t.Errorf("%s: %q %q %q db %d service %q cluster %v tls %v", tt.url,
				o.User, o.Password, o.Addrs, o.DB, o.Service, o.Cluster, o.TLS)
		}
	}
}

func TestParseParameters(t *testing.T) {
	got, err := Parse("rediss+sentinel://u:p@a:1/main?db=2&tls_ca=/ca.pem&tls_cert=/c.pem&tls_key=/c%20k&tls_server_name=redis.test&sentinel_user=s&sentinel_password=p%40s%3F")
	want := URL{
		Addrs: []string{"a:1"}, User: "u", Password: "p", DB: 2, Service: "main", SentinelUser: "s", SentinelPassword: "p@s?",
		TLS: true, CA: "/ca.pem", Cert: "/c.pem", Key: "/c k", ServerName: "redis.test",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"", "its scheme"},
		{"h:6379", "its scheme"},
		{"http://h", "its scheme"},
		{"REDIS://h", "its scheme"},
		{"redis:h", "its scheme"},
		{"rediss", "its scheme"},
		{"redisss://h", "its scheme"},
		{"redis+tls://h", "its scheme"},
		{"unixs:///run", "its scheme"},
		{"memory://", "its scheme"},
		{"redis://", "names no host"},
		{"redis://:6379", "host is malformed"},
		{"redis://h:port", "host is malformed"},
		{"redis://h:", "host is malformed"},
		{"redis://a b", "host is malformed"},
		{"redis://h:0", "port is not"},
		{"redis://h:65536", "port is not"},
		{"redis://a:1,b:2", "several hosts"},
		{"redis://h/x", "database"},
		{"redis://h/-1", "database"},
		{"redis://h?db=x", "database"},
		{"redis://h?db=1&db=2", "its parameters may be"},
		{"redis://h?db=", "its parameters may be"},
		{"redis://h?max_retries=3", "its parameters may be"},
		{"rediss://h?tls_skip_verify=true", "its parameters may be"},
		{"redis://h?tls_ca=/ca.pem", "need rediss://"},
		{"unix:///s?tls_server_name=h", "need rediss://"},
		{"rediss://h?tls_ca=ca.pem", "absolute"},
		{"rediss://h?tls_cert=/c.pem", "need each other"},
		{"rediss://h?tls_key=/c.key", "need each other"},
		{"rediss+cluster://h?tls_cert=/c.pem&tls_key=c.key", "absolute"},
		{"redis://h?sentinel_password=p", "belong to redis+sentinel://"},
		{"redis+cluster://h?sentinel_user=u&sentinel_password=p", "belong to redis+sentinel://"},
		{"redis+sentinel://h/main?sentinel_user=u", "needs a sentinel_password"},
		{"redis://h?%zz", "query is malformed"},
		{"redis://u:p/w@h", "percent-encoded"},
		{"redis://u:p#w@h", "percent-encoded"},
		{"redis://u:p?w@h", "percent-encoded"},
		{"redis://u:%pw@h", "percent-encoded"},
		{"redis://h#1", "percent-encoded"},
		{"redis://:a%zz@h", "percent-encoded"},
		{"unix://", "unix:// takes"},
		{"unix://run/redis.sock", "unix:// takes"},
		{"redis+sentinel://a:1", "names no service"},
		{"redis+sentinel://a:1,,b/main", "names no host"},
		{"redis+sentinel://a:1/main/2", "names no service"},
		{"redis+sentinel:///main", "names no host"},
		{"redis+cluster://a:1/2", "no databases"},
		{"redis+cluster://a:1?db=2", "no databases"},
	} {
		_, err := Parse(tt.url)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.url, err, tt.want)
		}
	}
}

// TestURLErrorsKeepSecrets puts unencoded passwords into URLs, as people paste them; most of these
// URLs are malformed. The errors must not contain the passwords.
func TestURLErrorsKeepSecrets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`[A-Z0-9]{6}[/?#%@:, \[\]]?[A-Z0-9]{6}`).Draw(t, "secret")
		form := rapid.SampledFrom([]string{
			"redis://u:%s@h:6379/0", "redis://:%s@h", "redis://%s@h", "rediss://u:%s@h:x", "unix://u:%s@/s", "redis+sentinel://u:%s@a:1,b:2/m",
			"redis+cluster://u:%s@a:1,b:2", "redis://h/%s", "redis://h?db=%s", "redis+sentinel://h/m?sentinel_user=u&sentinel_password=%s", "redis://h?sentinel_password=%s", "rediss://h?tls_ca=%s", "redis://h?password=%s", "redis://h?%s", "redis://h:%s", "%s", "%s://h", "http://%s@h",
		}).Draw(t, "form")
		_, err := Parse(fmt.Sprintf(form, secret))
		if err == nil {
			return
		}
		for _, piece := range []string{secret[:6], secret[len(secret)-6:]} {
			if strings.Contains(err.Error(), piece) {
				t.Fatalf("%q quotes %q", err, piece)
			}
		}
	})
}

func TestEncodedPasswordsSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		password := rapid.String().Draw(t, "password")
		o, err := Parse("redis+sentinel://" + url.UserPassword("u", password).String() + "@a:1,b:2/main?db=1")
		if err != nil || o.Password != password || len(o.Addrs) != 2 {
			t.Fatalf("%q: %+v, %v", password, o, err)
		}
	})
}

func TestNone(t *testing.T) {
	for raw, want := range map[string]bool{"": true, "memory://": true, "memory": false, "redis://h": false} {
		if None(raw) != want {
			t.Errorf("None(%q) is %v", raw, !want)
		}
	}
}
