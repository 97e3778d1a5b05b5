package drill

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/jewgo/gateway/internal/demo"
	"github.com/jewgo/gateway/test/env"
)

// site is where the gateways of a drill run. They are kept apart from those that
// serve the same policy; among themselves they share their keys and, through
// Redis alone, all else.
type site struct {
	t       env.T
	program string   // the gateway
	file    string   // their policy
	vars    []string // over the environment, NAME=value
	opened  int
}

// gateway is a gateway process.
type gateway struct {
	url, admin string
	process    *env.Process
}

// newSite writes the policy that the gateways serve: text, with a folder, keys
// and a Redis of their own, and what extra adds to its upstreams and routes.
func newSite(t env.T, program string, text []byte, redis string, extra *canary, vars ...string) *site {
	dir := t.TempDir()
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	root := doc.Content[0]
	for _, c := range []struct{ path, value string }{
		{"server.listen", "127.0.0.1:0"},
		{"server.admin", "127.0.0.1:0"},
		{"server.admin_token_file", ""},
		{"server.peers", ""},
		{"server.hosts", ""},
		{"server.data_dir", "${GATEWAY_DRILL_DATA_DIR}"},
		{"session.keys_file", filepath.Join(dir, "session.keys")},
		{"session.identity.keys_file", filepath.Join(dir, "identity.keys")},
		{"log.access", "off"},
		{"redis.url", redis},
		{"cache.redis_url", ""},
	} {
		set(root, strings.Split(c.path, "."), c.value)
	}
	if extra != nil {
		extra.join(root)
	}
	text, err := yaml.Marshal(&doc)
	s := &site{t: t, program: program, file: filepath.Join(dir, "gateway.yaml"), vars: vars}
	if err := errors.Join(err, os.WriteFile(s.file, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	return s
}

// set gives the key at a path below a mapping its value, or takes it away where
// the value is empty.
func set(in *yaml.Node, path []string, value string) {
	i := 0
	for i < len(in.Content) && in.Content[i].Value != path[0] {
		i += 2
	}
	switch {
	case value == "" && i < len(in.Content) && len(path) == 1:
		in.Content = slices.Delete(in.Content, i, i+2)
		return
	case value == "" && i == len(in.Content):
		return
	case i == len(in.Content):
		in.Content = append(in.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: path[0]}, &yaml.Node{Kind: yaml.MappingNode})
	}
	if len(path) > 1 {
		set(in.Content[i+1], path[1:], value)
		return
	}
	in.Content[i+1] = &yaml.Node{Kind: yaml.ScalarNode, Value: value, Style: yaml.DoubleQuotedStyle}
}

// open starts one more gateway and waits until it serves.
func (s *site) open() *gateway {
	s.opened++
	cmd := exec.Command(s.program, "run", "--config", s.file)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CACHE_") { // which would name another Redis
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "GATEWAY_DRILL_DATA_DIR="+filepath.Join(filepath.Dir(s.file), fmt.Sprint("gateway-", s.opened)))
	cmd.Env = append(cmd.Env, s.vars...)
	g := &gateway{process: env.Start(s.t, cmd)}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		log := g.process.Output()
		if g.url, g.admin = env.Serving(log); g.url != "" {
			return g
		}
		if !g.process.Running() {
			break
		}
	}
	s.t.Fatalf("a gateway does not serve: %s", lastLine(g.process.Output()))
	return nil
}

// fleet starts the gateways of a drill.
func (s *site) fleet() (f fleet) {
	for range gateways {
		f = append(f, s.open())
	}
	return f
}

func lastLine(log string) string {
	log = strings.TrimSpace(log)
	return log[strings.LastIndexByte(log, '\n')+1:]
}

// status is what GET /v1/redis says of the first Redis, as far as drills need it.
type status struct {
	State  string
	Counts struct{ Late, Losses int }
	// History is the last changes, oldest first.
	History []change
}

// change is one of them, as failover.Change writes it.
type change struct {
	At               time.Time
	From, To, Reason string
}

var client = &http.Client{Timeout: 5 * time.Second}

// status asks the gateway how it does with its Redis.
func (g *gateway) status() (status, error) {
	res, err := client.Get(g.admin + "/v1/redis")
	if err != nil {
		return status{}, fmt.Errorf("a gateway does not answer: %w: %s", err, lastLine(g.process.Output()))
	}
	defer func() { _ = res.Body.Close() }() // it has been read
	var view struct {
		Redis []struct{ Status status }
	}
	if err := json.NewDecoder(res.Body).Decode(&view); err != nil {
		return status{}, err
	}
	if len(view.Redis) == 0 {
		return status{}, errors.New("the gateway has no redis")
	}
	return view.Redis[0].Status, nil
}

// Demo serves the demo's backend and returns its URL.
func Demo(t env.T) string {
	backend := httptest.NewServer(demo.New(demo.Config{}))
	t.Cleanup(backend.Close)
	return backend.URL
}
