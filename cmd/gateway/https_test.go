package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// securePolicy speaks HTTPS: its certificate, key and upstream stand for %q. More may be said of tls.
const securePolicy = `
version: 1
server:
  data_dir: ./data
  hosts: [a.test, 127.0.0.1, "::1"]
  timeouts: {drain: 10s}
  tls:
    certificates: [{cert_file: %q, key_file: %q}]
    redirect: "127.0.0.1:0"
    hsts: {max_age: 365d, subdomains: true}
upstreams:
  app: {targets: [%q]}
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
	var port string
	g, _, _ := startSecure(t, tells, func(policy string) string {
		port = freePort(t)
		return strings.Replace(policy, `redirect: "127.0.0.1:0"`, `redirect: "127.0.0.1:`+port+`"`, 1)
	})
	_, own, _ := net.SplitHostPort(strings.TrimPrefix(g.base, "https://"))
	plain := "http://127.0.0.1:" + port
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
		a := getBy(t, c, plain+r.path, "Host", r.host)
		if a.StatusCode != r.status || a.Header.Get("Location") != r.location || a.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s of %s: %s to %q", r.path, r.host, a.Status, a.Header.Get("Location"))
		}
	}
	g.stdout.await(t, "redirected to HTTPS")
	if a := getBy(t, c, strings.Replace(g.base, "https", "http", 1)+"/"); a.StatusCode != 400 || !strings.Contains(a.body, "HTTPS server") {
		t.Errorf("plain HTTP at the address of HTTPS: %s %s", a.Status, a.body)
	}
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func TestHTTPSForDevelopment(t *testing.T) {
	t.Parallel()
	g := launch(t, nil, "demo", "--https", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	g.stdout.await(t, "Worth trying")
	lines := 0
	for line := range strings.Lines(g.stdout.String()) {
		if !strings.HasPrefix(line, "  curl --cacert ") || strings.Contains(line, "[1-12]") {
			continue
		}
		lines++
		out, err := exec.Command("bash", "-c", strings.Replace(strings.TrimSpace(line), "curl ", "curl -f -S --max-time 10 ", 1)).CombinedOutput()
		refused := strings.Contains(line, "%2F") // hygiene
		if (err != nil) != refused {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		if strings.Contains(line, "auth/login") && !strings.Contains(string(out), "__Host-gw=") {
			t.Errorf("no cookie for HTTPS:\n%s", out)
		}
	}
	if lines < 5 {
		t.Errorf("only %d commands in:\n%s", lines, g.stdout.String())
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
	port := freePort(t)
	file := filepath.Join(dir, "gateway.yaml")
	writePolicy(t, file, strings.Replace(fmt.Sprintf(smallPolicy, upstream.URL), "data_dir: ./data,",
		`data_dir: ./data, listen: ["systemd:http", "127.0.0.1:`+port+`", "unix:own.sock", "systemd:local"], admin: "systemd:admin",`, 1))
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
		{"tcp", "127.0.0.1:" + port},
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
