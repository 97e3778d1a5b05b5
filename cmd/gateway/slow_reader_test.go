package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// A client that reads a hit steadily, and more slowly than what is written at
// once allows for, is not cut off.
func TestASlowReaderOfAHitIsNotCutOff(t *testing.T) {
	t.Parallel()
	body := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	backend := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	const cached = "  - {name: slowly, match: {path: /slowly}, upstream: app, cache: {ttl: 1h}}\n"
	plain, _ := startSmall(t, backend, strings.Replace(smallPolicy, "drain: 10s", "progress: 2s", 1)+cached)
	secure, ca, _ := startSecure(t, backend, func(policy string) string { return strings.Replace(policy, "drain: 10s", "progress: 2s", 1) + cached })
	for name, c := range map[string]struct {
		g      *gatewayProcess
		client *http.Client
		piece  int // read ten times a second: while the kernel takes more when it is rid of 64 KB, or of each frame
	}{
		"HTTP/1.1":        {plain, httpsClient(plain, ca, false), 20 << 10},
		"HTTPS, HTTP/1.1": {secure, httpsClient(secure, ca, false), 20 << 10},
		"HTTP/2":          {secure, httpsClient(secure, ca, true), 6 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.client.Transport.(*http.Transport).DisableCompression = true
			// It is stored by another connection: one that was in use has such large buffers that its reader's
			// progress shows too seldom.
			getBy(t, httpsClient(c.g, ca, false), c.g.base+"/slowly?"+url.QueryEscape(name))
			res, err := c.client.Get(c.g.base + "/slowly?" + url.QueryEscape(name))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if status := res.Header.Get("Cache-Status"); !strings.Contains(status, "hit") {
				t.Fatalf("no hit: %s", status)
			}
			piece := make([]byte, c.piece)
			for range 50 {
				if _, err := io.ReadFull(res.Body, piece); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
			}
			if n := strings.Count(c.g.stdout.String(), `"uri":"/slowly?`+url.QueryEscape(name)+`"`); n != 1 {
				t.Errorf("the request has ended: %d lines\n%s", n, c.g.stdout.String())
			}
		})
	}
}

// A WebSocket whose client takes nothing ends after its route's progress, not the server's and not never.
func TestAWebSocketThatNobodyReads(t *testing.T) {
	t.Parallel()
	ended := make(chan time.Duration, 1)
	g, _ := startSmall(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		var began time.Time
		for err == nil {
			began = time.Now()
			_, err = conn.Write(make([]byte, 64<<10))
		}
		ended <- time.Since(began)
	}), strings.NewReplacer("drain: 10s", "drain: 10s, progress: 500ms", "upgrade: [websocket]", "upgrade: [websocket], progress: 4s").Replace(smallPolicy))
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if took := env.Receive(t, "the end", ended); took < 2*time.Second {
		t.Errorf("it ended %v after the last byte", took)
	}
}
