package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// rawCase is what one client sends on one connection.
type rawCase struct {
	sentence string
	sent     string
	statuses []int    // of the answers, in order
	closes   bool     // the gateway closes the connection after them; else one more request is answered
	saw      []string // by the backend, as rawBackend writes it
}

const rawPolicy = `
version: 1
server: {hosts: [a.test], trusted_proxies: [192.0.2.1], max_body: 4096%s}
upstreams: {app: {targets: [%q]}}
routes:
  - {name: all, match: {path: "/{rest...}"}, upstream: app}
  - {name: own, match: {methods: [GET, SYNC], path: /own}, upstream: app}
  - {name: cached, match: {path: "/cached/{rest...}"}, upstream: app, cache: {ttl: 1h, query: {allow: [q]}}}
  - {name: private, match: {path: "/private/{rest...}"}, upstream: app}
  - {name: denied, match: {path: "/admin/{rest...}"}, deny: 403}
`

// TestRawSockets sends bytes, not requests. Whatever is ambiguous ends at the gateway.
func TestRawSockets(t *testing.T) {
	t.Parallel()
	if n := len(rawCases()); n < 150 {
		t.Fatalf("only %d cases", n)
	}
	for _, backend := range []struct {
		name  string
		start func(t *testing.T) (url string, saw func() []string)
	}{{"Go", rawGo}, {"gunicorn", rawGunicorn}} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %v", backend.name, secure), func(t *testing.T) {
				t.Parallel()
				url, saw := backend.start(t)
				dial := startRaw(t, url, secure)
				for _, c := range rawCases() {
					c.check(t, dial, saw)
				}
			})
		}
	}
}

// startRaw serves rawPolicy, and returns what connects to it.
func startRaw(t *testing.T, upstream string, secure bool) (dial func() (net.Conn, error)) {
	t.Helper()
	section := ""
	config := &tls.Config{ServerName: "a.test"}
	if secure {
		ca := env.NewCA(t)
		files := ca.Issue(t, "a.test")
		section = fmt.Sprintf(", tls: {certificates: [{cert_file: %q, key_file: %q}]}", files.Cert, files.Key)
		config.RootCAs = ca.Pool
	}
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	writePolicy(t, file, fmt.Sprintf(rawPolicy, section, upstream))
	g := start(t, nil, "run", "--config", file)
	_, addr, _ := strings.Cut(g.base, "://")
	return func() (net.Conn, error) {
		if secure {
			return tls.Dial("tcp", addr, config)
		}
		return net.Dial("tcp", addr)
	}
}

// rawGo is a backend of net/http. saw returns the requests since it was asked last.
func rawGo(t *testing.T) (url string, saw func() []string) {
	watched := []string{"X-A", "X-B", "X-Gw-User", "X-Gw-Identity", "X-Real-Ip", "X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "X-Forwarded-Prefix", "Script-Name", "Te", "Upgrade", "Proxy", "Keep-Alive", "Max-Forwards"}
	var mu sync.Mutex
	var lines []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line := r.Method + " " + r.RequestURI
		if r.Host != "a.test" {
			line += " host=" + r.Host
		}
		for _, name := range watched {
			for key, values := range r.Header {
				if strings.EqualFold(strings.ReplaceAll(key, "_", "-"), name) {
					line += " " + strings.ToLower(name) + "=" + strings.Join(values, ",")
				}
			}
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			body = []byte("(incomplete) " + err.Error())
		}
		if len(body) > 0 {
			line += " |" + strings.NewReplacer("\r", `\r`, "\n", `\n`).Replace(string(body))
		}
		mu.Lock()
		lines = append(lines, line)
		mu.Unlock()
		_, _ = io.WriteString(w, "ok\n") // the gateway may have gone
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		seen := lines
		lines = nil
		return seen
	}
}

// rawGunicorn is the same under gunicorn.
func rawGunicorn(t *testing.T) (url string, saw func() []string) {
	file := filepath.Join(t.TempDir(), "seen")
	url = env.FlaskIn(t, "testdata/raw", "SEEN="+file)
	read := 0
	return url, func() []string {
		all, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(all[read:]), "\n"), "\n")
		read = len(all)
		return slices.DeleteFunc(lines, func(line string) bool { return line == "" })
	}
}

// check sends the case's bytes on a connection of its own.
func (c *rawCase) check(t *testing.T, dial func() (net.Conn, error), saw func() []string) {
	t.Helper()
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // a miss shows below
	if _, err := io.WriteString(conn, c.sent); err != nil {
		t.Errorf("%s: %v", c.sentence, err)
		return
	}
	r := bufio.NewReader(conn)
	var statuses []int
	method, _, _ := strings.Cut(strings.TrimLeft(c.sent, "\r\n"), " ")
	for range c.statuses {
		status, err := rawAnswer(r, method)
		if err != nil {
			t.Errorf("%s: after %v: %v", c.sentence, statuses, err)
			return
		}
		statuses = append(statuses, status)
	}
	if !slices.Equal(statuses, c.statuses) {
		t.Errorf("%s: status %v, want %v", c.sentence, statuses, c.statuses)
	}
	if c.closes {
		if more, err := io.ReadAll(r); len(more) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection goes on with %q: %v", c.sentence, more, err)
		}
	} else {
		_, _ = io.WriteString(conn, "GET /more HTTP/1.1\r\nHost: a.test\r\n\r\n") // a miss shows below
		if status, err := rawAnswer(r, "GET"); status != http.StatusOK {
			t.Errorf("%s: the connection does not go on: %d, %v", c.sentence, status, err)
		}
	}
	seen := slices.DeleteFunc(saw(), func(line string) bool { return line == "GET /more" || strings.Contains(line, "(incomplete)") })
	if !slices.Equal(seen, c.saw) {
		t.Errorf("%s: the backend saw %q, want %q", c.sentence, seen, c.saw)
	}
}

// rawAnswer reads one response to its end. Interim ones do not count.
func rawAnswer(r *bufio.Reader, method string) (status int, err error) {
	for {
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, res.Body)
		if res.StatusCode >= 200 || err != nil {
			return res.StatusCode, err
		}
	}
}
