package field

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/jewgo/gateway/test/env"
)

//go:embed configs
var configs embed.FS

// site is what the servers of one case have in common.
type site struct {
	t        env.T
	cfg      Config
	c        Case
	upstream *server
	redis    *env.RedisServer // nil: none
	files    env.TLSFiles
	client   *http.Client // trusts files.CA
	answer   string       // file with the gateway's answer
}

// server is a running server.
type server struct {
	name    string
	url     string
	admin   string // where its counters are; "": it has none that we know
	token   string // the gateway's, for admin
	process *env.Process
}

// values are what the templates of configurations know.
type values struct {
	Dir, Cache, Port, Cert, Key, PEM, Redis      string
	Upstream, UpstreamAddr, UpstreamPort, Server string
	TLS, Root                                    bool
}

// start starts a server and waits until it gives the answer that the case wants.
func (s *site) start(name string) *server {
	var started *server
	switch name {
	case gatewayBin:
		v := s.values()
		started = s.own(s.cfg.Gateway, "run", "--config", s.render("gateway.yaml", v))
		token, err := os.ReadFile(filepath.Join(v.Dir, "data", "admin.token"))
		if err != nil {
			s.t.Fatal(err)
		}
		started.token = strings.TrimSpace(string(token))
	case static:
		args := []string{"static", "--answer", s.answer}
		if s.c.tls {
			args = append(args, "--cert", s.files.Cert, "--key", s.files.Key)
		}
		started = s.child(args...)
	case proxy:
		started = s.child("proxy", "--to", s.upstream.url)
	case redisProxy:
		started = s.child("proxy", "--to", s.upstream.url, "--redis", s.redis.Addr)
	default:
		started = s.foreign(name)
	}
	started.name = name
	if err := started.process.Await(func() error { return s.ready(started) }); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, started.process.Output())
	}
	return started
}

// child starts a server of this tool.
func (s *site) child(args ...string) *server {
	return s.own(s.cfg.Self, append([]string{"serve"}, args...)...)
}

// own starts a server that announces its addresses as the gateway does.
func (s *site) own(program string, args ...string) *server {
	started := &server{process: s.launch(exec.Command(program, args...))}
	err := started.process.Await(func() error {
		if started.url, started.admin = env.Serving(started.process.Output()); started.url == "" {
			return errors.New("it does not serve yet")
		}
		return nil
	})
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", program, err, started.process.Output())
	}
	return started
}

// launch starts a program that ends in good order, so that it takes its children along.
func (s *site) launch(cmd *exec.Cmd) *env.Process {
	p := env.Start(s.t, cmd)
	s.t.Cleanup(func() { p.Stop(syscall.SIGTERM) })
	return p
}

// foreign starts a server of others, under a configuration with its name.
func (s *site) foreign(name string) *server {
	v := s.values()
	v.Port = env.FreePort(s.t)
	var cmd *exec.Cmd
	switch name {
	case "nginx":
		cmd = exec.Command(programs[name], "-p", v.Dir, "-c", s.render("nginx.conf", v))
	case "haproxy":
		cmd = exec.Command(programs[name], "-db", "-f", s.render("haproxy.cfg", v))
	case "varnish":
		cmd = exec.Command(programs[name], "-F", "-j", "none", "-a", "127.0.0.1:"+v.Port, "-T", "127.0.0.1:0",
			"-f", s.render("varnish.vcl", v), "-s", "malloc,256m", "-n", v.Dir)
	case "caddy":
		cmd = exec.Command(programs[name], "run", "--adapter", "caddyfile", "--config", s.render("Caddyfile", v))
		cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+v.Dir, "XDG_CONFIG_HOME="+v.Dir)
	default:
		s.t.Fatalf("no server %q", name)
	}
	scheme := "http"
	if s.c.tls {
		scheme = "https"
	}
	return &server{url: scheme + "://127.0.0.1:" + v.Port, process: s.launch(cmd)}
}

// programs are the executables of other servers.
var programs = map[string]string{"nginx": "nginx", "haproxy": "haproxy", "varnish": "varnishd", "caddy": "caddy"}

// installed says whether a server can play.
func installed(name string) bool {
	program, foreign := programs[name]
	if !foreign {
		return true
	}
	_, err := exec.LookPath(program)
	return err == nil
}

// values returns a server's own folders, and what the case has.
func (s *site) values() values {
	v := values{Dir: s.t.TempDir(), TLS: s.c.tls, Root: os.Geteuid() == 0, Cert: s.files.Cert, Key: s.files.Key, Upstream: s.upstream.url}
	if s.redis != nil {
		v.Redis = s.redis.URL
	}
	to, err := url.Parse(s.upstream.url)
	if err != nil {
		s.t.Fatal(err)
	}
	v.UpstreamAddr, v.UpstreamPort = to.Host, to.Port()
	// A cache in memory, like those of the others, where the system has such a folder.
	if v.Cache, err = os.MkdirTemp("/dev/shm", "gateway-bench-"); err != nil {
		v.Cache = s.t.TempDir()
	}
	s.t.Cleanup(func() { _ = os.RemoveAll(v.Cache) }) // the system's own clean-up gets the rest
	if s.c.tls {
		v.PEM = filepath.Join(v.Dir, "pair.pem") // HAProxy wants both in one file
		cert, err1 := os.ReadFile(v.Cert)
		key, err2 := os.ReadFile(v.Key)
		if err := errors.Join(err1, err2, os.WriteFile(v.PEM, slices.Concat(cert, key), 0o600)); err != nil {
			s.t.Fatal(err)
		}
	}
	return v
}

// render writes a configuration into the server's folder.
func (s *site) render(name string, v values) string {
	var b bytes.Buffer
	tmpl, err := template.ParseFS(configs, "configs/"+name)
	if err == nil {
		err = tmpl.Execute(&b, v)
	}
	file := filepath.Join(v.Dir, name)
	if err := errors.Join(err, os.WriteFile(file, b.Bytes(), 0o600)); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// ready asks until a server gives the case's answer; a limit may let the first ones through. The
// gateway's answer is kept for the static server.
func (s *site) ready(of *server) error {
	res, err := s.client.Get(of.url + s.c.Path)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // was only read
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != s.c.Status {
		return fmt.Errorf("%s, want %d", res.Status, s.c.Status)
	}
	if of.name != gatewayBin {
		return nil
	}
	b, err := json.Marshal(answer{Status: res.StatusCode, Header: res.Header, Body: body})
	if err != nil {
		return err
	}
	return os.WriteFile(s.answer, b, 0o600)
}

// newClient returns a client that trusts the case's CA.
func newClient(config *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, DisableCompression: true},
		Timeout:   10 * time.Second,
	}
}

// trust returns a client's configuration that trusts the CA of a file alone.
func trust(file string) (*tls.Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s: no certificate", file)
	}
	return &tls.Config{RootCAs: pool}, nil
}
