package main

import (
	"testing"

	"github.com/jewgo/gateway/policy"
)

func TestUsualHost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		listen, host string
		tls          bool
		want         string
	}{
		{":8080", "", false, "localhost:8080"},
		{":80", "", false, "localhost"},
		{":443", "", true, "localhost"},
		{":443", "", false, "localhost:443"},
		{"127.0.0.1:0", "", false, "localhost"},
		{"unix:/run/gateway.sock", "", false, "localhost"},
		{"systemd:http", "127.0.0.1", false, "127.0.0.1"},
		{":8080", "api.example.org", false, "api.example.org"}, // behind something that listens on a usual port
		{":8080", "::1", false, "[::1]:8080"},
		{":8080", "2001:db8::1", false, "[2001:db8::1]"},
	} {
		p := &policy.Server{Listen: policy.StringList{c.listen}}
		if c.host != "" {
			p.Hosts = []string{c.host, "other.example.org"}
		}
		if c.tls {
			p.TLS = &policy.TLS{}
		}
		if got := usualHost(p); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
