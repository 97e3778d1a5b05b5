package redisdb

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseURL(t *testing.T) {
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
		o, err := parseURL(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if o.Username != tt.user || o.Password != tt.password || !slices.Equal(o.Addrs, tt.addrs) || o.DB != tt.db ||
			o.MasterName != tt.service || o.IsClusterMode != tt.cluster || (o.TLSConfig != nil) != tt.tls {
			t.Errorf("%s: %q %q %q db %d service %q cluster %v tls %v", tt.url,
				o.Username, o.Password, o.Addrs, o.DB, o.MasterName, o.IsClusterMode, o.TLSConfig != nil)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"", "must start with"},
		{"h:6379", "must start with"},
		{"http://h", "must start with"},
		{"REDIS://h", "must start with"},
		{"redis://", "host is missing"},
		{"redis://:6379", "host is missing"},
		{"redis://h:port", "host is missing or malformed"},
		{"redis://h:0", "port is not"},
		{"redis://h:65536", "port is not"},
		{"redis://a:1,b:2", "several hosts"},
		{"redis://h/x", "database"},
		{"redis://h/-1", "database"},
		{"redis://h?db=x", "database"},
		{"redis://h?db=1&db=2", "only parameter"},
		{"redis://h?max_retries=3", "only parameter"},
		{"redis://h?%zz", "malformed query"},
		{"redis://u:p/w@h", "percent-encode"},
		{"redis://u:p#w@h", "percent-encode"},
		{"redis://u:p?w@h", "percent-encode"},
		{"redis://u:%pw@h", "percent-encode"},
		{"unix://", "unix URL"},
		{"unix://run/redis.sock", "unix URL"},
		{"redis+sentinel://a:1", "name of the service"},
		{"redis+sentinel://a:1,,b/main", "host is missing"},
		{"redis+sentinel://a:1/main/2", "name of the service"},
		{"redis+cluster://a:1/2", "no databases"},
		{"redis+cluster://a:1?db=2", "no databases"},
	} {
		_, err := parseURL(tt.url)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.url, err, tt.want)
		}
	}
}

// TestURLErrorsKeepSecrets puts passwords as people paste them, not encoded,
// into URLs, most of which are malformed then, and looks for them in the errors.
func TestURLErrorsKeepSecrets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`[A-Z0-9]{6}[/?#%@:, \[\]]?[A-Z0-9]{6}`).Draw(t, "secret")
		form := rapid.SampledFrom([]string{
			"redis://u:%s@h:6379/0", "redis://:%s@h", "redis://%s@h", "rediss://u:%s@h:x", "unix://u:%s@/s", "redis+sentinel://u:%s@a:1,b:2/m",
			"redis+cluster://u:%s@a:1,b:2", "redis://h/%s", "redis://h?db=%s", "redis://h?password=%s", "redis://h?%s", "redis://h:%s", "%s", "%s://h", "http://%s@h",
		}).Draw(t, "form")
		_, err := Open(Config{URL: fmt.Sprintf(form, secret)})
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
		o, err := parseURL("redis+sentinel://" + url.UserPassword("u", password).String() + "@a:1,b:2/main?db=1")
		if err != nil || o.Password != password || len(o.Addrs) != 2 {
			t.Fatalf("%q: %+v, %v", password, o, err)
		}
	})
}
