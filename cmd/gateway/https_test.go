package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/jewgo/gateway/test/env"
)

// securePolicy speaks HTTPS: its certificate, key and upstream stand for %q. More may be said of tls.
const securePolicy = `
version: 1
server:
  data_dir: ./data
  hosts: [a.test, 127.0.0.1, "::1"]
  timeouts: {drain: 10s, read_header: 30s}
  tls:
    certificates: [{cert_file: %q, key_file: %q}]
    redirect: "127.0.0.1:0"
    hsts: {max_age: 365d, subdomains: true}
upstreams:
  app: {targets: [%q], concurrency: {wait: 30s}}
limits:
  few: {rate: 2/day}
routes:
  - {name: all, match: {path: "/{rest...}"}, upstream: app, upgrade: [websocket]}
  - {name: cached, match: {path: "/cached"}, upstream: app, cache: {ttl: 1h}}
  - {name: limited, match: {path: "/limited"}, upstream: app, limits: [few]}
`

// startSecure serves securePolicy for a.test in front of a backend.
func startSecure(t *testing.T, backend http.Handler, edit func(policy string) string) (g *gatewayProcess, ca *env.CA, files env.TLSFiles) {
	t.Helper()
	upstream := httptest.NewServer(backend)
	t.Cleanup(upstream.Close)
	ca = env.NewCA(t)
	files = ca.Issue(t, "a.test", "127.0.0.1")
	text := fmt.Sprintf(securePolicy, files.Cert, files.Key, upstream.URL)
	if edit != nil {
		text = edit(text)
	}
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	writePolicy(t, file, text)
	return start(t, nil, "run", "--config", file), ca, files
}

// httpsClient trusts ca, and reaches every name at the gateway. Without http2 it speaks HTTP/1.1.
func httpsClient(g *gatewayProcess, ca *env.CA, http2 bool) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: ca.Pool}, ForceAttemptHTTP2: http2, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 20 * time.Second,
	}
	g.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// getBy is a GET read to its end.
func getBy(t *testing.T, c *http.Client, url string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res, string(body)}
}

// tells answers with what the upstream was told.
var tells = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Strict-Transport-Security", "max-age=1")
	_, _ = fmt.Fprintf(w, "proto %s, host %s", r.Header.Get("X-Forwarded-Proto"), r.Host)
})

func TestHTTPS(t *testing.T) {
	t.Parallel()
	g, ca, _ := startSecure(t, tells, nil)
	for _, http2 := range []bool{false, true} {
		c := httpsClient(g, ca, http2)
		for _, r := range []struct {
			path, host string
			status     int
		}{
			{"/x", "", 200}, {"/cached", "", 200}, {"/cached", "", 200}, {"/x%2F..", "", 400}, {"/x", "other.test", 421},
		} {
			a := getBy(t, c, g.base+r.path, "Host", r.host)
			if a.StatusCode != r.status || a.TLS == nil || (a.ProtoMajor == 2) != http2 {
				t.Errorf("%s of %q: %s over %s", r.path, r.host, a.Status, a.Proto)
			}
			if got := a.Header.Values("Strict-Transport-Security"); len(got) != 1 || got[0] != "max-age=31536000; includeSubDomains" {
				t.Errorf("%s: Strict-Transport-Security %q", r.path, got)
			}
			if r.status == 200 && !strings.HasPrefix(a.body, "proto https, host 127.0.0.1:") {
				t.Errorf("the upstream was told %q", a.body)
			}
		}
	}
	if text := g.do("GET", g.admin+"/readyz?verbose", "").body; !strings.Contains(text, "a.test, 127.0.0.1 until 20") {
		t.Errorf("readyz does not tell of the certificate:\n%s", text)
	}
	if text := g.do("GET", g.admin+"/metrics", "").body; !strings.Contains(text, `gateway_certificate_expiry_timestamp_seconds{name="a.test",source="`) {
		t.Error("no metric of the certificate's end")
	}
}

func TestPlainHTTPIsRedirected(t *testing.T) {
	t.Parallel()
	plain := fixedAddr(t)
	g, _, _ := startSecure(t, tells, func(policy string) string {
		return strings.Replace(policy, `redirect: "127.0.0.1:0"`, `redirect: "`+plain+`"`, 1)
	})
	_, own, _ := net.SplitHostPort(strings.TrimPrefix(g.base, "https://"))
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, r := range []struct {
		path, host, location string
		status               int
	}{
		{"/a/b?c=d%20e", "a.test", "https://a.test:" + own + "/a/b?c=d%20e", 308},
		{"/a", "A.test:80", "https://a.test:" + own + "/a", 308},
		{"//evil.test/", "a.test", "", 400},
		{"/a", "evil.test", "", 421},
		{"/a", "[::1]", "https://[::1]:" + own + "/a", 308},
	} {
		a := getBy(t, c, "http://"+plain+r.path, "Host", r.host)
		if a.StatusCode != r.status || a.Header.Get("Location") != r.location || a.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s of %s: %s to %q", r.path, r.host, a.Status, a.Header.Get("Location"))
		}
	}
	g.stdout.await(t, "redirected to HTTPS")
	if a := getBy(t, c, strings.Replace(g.base, "https", "http", 1)+"/"); a.StatusCode != 400 || !strings.Contains(a.body, "HTTPS server") {
		t.Errorf("plain HTTP at the address of HTTPS: %s %s", a.Status, a.body)
	}
}

// Any host is redirected where server.hosts says nothing, but one must be named. Behind port mapping the port
// is another one.
func TestRedirectOfAnyHost(t *testing.T) {
	t.Parallel()
	plain := fixedAddr(t)
	startSecure(t, tells, func(policy string) string {
		policy = strings.Replace(policy, `  hosts: [a.test, 127.0.0.1, "::1"]`+"\n", "", 1)
		return strings.Replace(policy, `redirect: "127.0.0.1:0"`, `redirect: "`+plain+`"`+"\n    redirect_port: 443", 1)
	})
	conn, err := net.Dial("tcp", plain)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: any.test\r\n\r\nGET /x HTTP/1.0\r\n\r\n") // the answers tell
	answers := bufio.NewReader(conn)
	for _, want := range []string{"308 https://any.test/x", "400 "} {
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body) // what follows would fail
		if got := fmt.Sprint(res.StatusCode, " ", res.Header.Get("Location")); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestHTTPSForDevelopment(t *testing.T) {
	t.Parallel()
	_, lines := startDemo(t, "--https")
	for _, line := range lines {
		if strings.Contains(line, "https:") != strings.Contains(line, "--cacert") {
			t.Errorf("the certificate is trusted for no reason, or not: %s", line)
		}
		out := shell(t, t.TempDir(), strings.Replace(line, "curl ", "curl -S --max-time 10 ", 1))
		if strings.Contains(line, "-D - --json") && !strings.Contains(out, "__Host-gw=") {
			t.Errorf("no cookie for HTTPS:\n%s", out)
		}
	}
	if len(lines) != 7 {
		t.Errorf("%d commands, want 7", len(lines))
	}
}

// passSockets are sockets that a launcher passes to the gateway as systemd does: by name, in turn.
func passSockets(t *testing.T, cmd *exec.Cmd, names []string, listeners ...net.Listener) {
	t.Helper()
	for _, l := range listeners {
		f, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	// LISTEN_PID must be the gateway's own, which only a process in its place can know.
	gateway := cmd.Args
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, gateway...)
	cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(listeners)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
}

func TestSeveralAddressesAndSocketsOfSystemd(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(tells)
	t.Cleanup(upstream.Close)
	dir := t.TempDir()
	listen := func(network, address string) net.Listener {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	one, two, admin := listen("tcp", "127.0.0.1:0"), listen("tcp", "127.0.0.1:0"), listen("tcp", "127.0.0.1:0")
	spare, passed := listen("tcp", "127.0.0.1:0"), listen("unix", filepath.Join(dir, "passed.sock"))
	if err := os.Chmod(filepath.Join(dir, "passed.sock"), 0o660); err != nil {
		t.Fatal(err)
	}
	named := fixedAddr(t)
	file := filepath.Join(dir, "gateway.yaml")
	writePolicy(t, file, strings.Replace(fmt.Sprintf(smallPolicy, upstream.URL), "data_dir: ./data,",
		`data_dir: ./data, listen: ["systemd:http", "`+named+`", "unix:own.sock", "systemd:local"], admin: "systemd:admin",`, 1))
	g := launchAs(t, func(cmd *exec.Cmd) {
		passSockets(t, cmd, []string{"http", "http", "admin", "spare", "local"}, one, two, admin, spare, passed)
	}, "run", "--config", file)
	g.serving()
	g.stderr.await(t, `"sockets":["spare"]`)
	over := func(network, address string) *http.Client {
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial(network, address) }}
		return &http.Client{Transport: transport, Timeout: 10 * time.Second}
	}
	for _, at := range [][2]string{
		{"tcp", one.Addr().String()},
		{"tcp", two.Addr().String()},
		{"tcp", named},
		{"unix", filepath.Join(dir, "own.sock")},
		{"unix", filepath.Join(dir, "passed.sock")},
	} {
		want := "proto http, host a.test"
		if at[0] == "unix" { // its peer is believed
			want = "proto https, host a.test"
		}
		if a := getBy(t, over(at[0], at[1]), "http://a.test/", "X-Forwarded-Proto", "https", "X-Forwarded-For", "192.0.2.1"); a.body != want {
			t.Errorf("%s: %s %s, want %s", at[1], a.Status, a.body, want)
		}
	}
	if a := getBy(t, over("tcp", admin.Addr().String()), "http://"+admin.Addr().String()+"/livez"); a.StatusCode != 200 {
		t.Errorf("admin: %s", a.Status)
	}
}

func TestASocketThatSystemdDoesNotPass(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	writePolicy(t, file, strings.Replace(fmt.Sprintf(smallPolicy, "http://127.0.0.1:1"), "data_dir: ./data,", `data_dir: ./data, listen: "systemd:http", admin: "",`, 1))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		set  func(cmd *exec.Cmd)
		want string
	}{
		{func(*exec.Cmd) {}, "listen on systemd:http: systemd has passed no such socket; it has passed none"},
		{func(cmd *exec.Cmd) { passSockets(t, cmd, []string{"web"}, l) }, "systemd has passed no such socket; it has passed web (FileDescriptorName="},
	} {
		g := launchAs(t, c.set, "run", "--config", file)
		if code := g.wait(20 * time.Second); code != 1 || !strings.Contains(g.stderr.String(), c.want) {
			t.Errorf("exit status %d, said:\n%s", code, g.stderr.String())
		}
	}
}

// Certificates and the policy change under load, and neither requests nor streams notice.
func TestChangesUnderLoadOverHTTPS(t *testing.T) { // alone: a load beside other tests says nothing
	var text string
	mux := http.NewServeMux()
	mux.HandleFunc("/", workaday)
	mux.Handle("/echo", echo(make(chan error, 1)))
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for n := 0; r.Context().Err() == nil; n++ {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", n)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	})
	g, ca, files := startSecure(t, mux, func(policy string) string { text = policy; return policy })
	file := g.args[len(g.args)-5] // --config FILE --listen ADDRESS --admin ADDRESS
	trust := &tls.Config{RootCAs: ca.Pool}

	ws, err := websocket.DialConfig(&websocket.Config{
		Location: mustURL(t, "wss"+strings.TrimPrefix(g.base, "https")+"/echo"), Origin: mustURL(t, g.base), Version: 13, TlsConfig: trust.Clone(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	events := map[bool]*bufio.Scanner{}
	for _, http2 := range []bool{false, true} {
		res, err := httpsClient(g, ca, http2).Get(g.base + "/events")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		events[http2] = bufio.NewScanner(res.Body)
	}
	stops := []func() (int, map[string]int){
		attack(g.base, 50, &http.Transport{TLSClientConfig: trust.Clone()}),
		attack(g.base, 50, &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: true}),
		attack(g.base, 20, &http.Transport{TLSClientConfig: trust.Clone(), DisableKeepAlives: true}),
	}
	const changes = 4
	for i := range changes {
		next := ca.Issue(t, "a.test", "127.0.0.1")
		writeOver(t, files.Cert, next.Cert)
		writeOver(t, files.Key, next.Key)
		serial := next.Pair(t).Leaf.SerialNumber
		writePolicy(t, file, text+fmt.Sprintf("  - {name: more%d, match: {path: /more/%d}, upstream: app}\n", i, i))
		env.Eventually(t, 20*time.Second, func() error {
			conn, err := tls.Dial("tcp", strings.TrimPrefix(g.base, "https://"), trust.Clone())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if conn.ConnectionState().PeerCertificates[0].SerialNumber.Cmp(serial) != 0 {
				return errors.New("the old certificate is served")
			}
			if n := strings.Count(g.stderr.String(), "policy reloaded"); n != i+1 {
				return fmt.Errorf("%d of %d policies were loaded", n, i+1)
			}
			return nil
		})
		if err := say(ws, fmt.Sprint("change ", i)); err != nil {
			t.Errorf("the WebSocket after %d changes: %v", i+1, err)
		}
	}
	for _, stop := range stops {
		if sent, bad := stop(); len(bad) > 0 || sent < 20 {
			t.Errorf("of %d requests failed: %v", sent, bad)
		}
	}
	for http2, lines := range events { // each event from the first one on
		for n := range 100 {
			if !lines.Scan() || lines.Text() != fmt.Sprint("data: ", n) || !lines.Scan() {
				t.Fatalf("HTTP/2: %v: event %d is %q (%v)", http2, n, lines.Text(), lines.Err())
			}
		}
	}
}

// writeOver writes a file's text over another file, in place.
func writeOver(t *testing.T, path, with string) {
	t.Helper()
	text, err := os.ReadFile(with)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
