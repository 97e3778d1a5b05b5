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

// site is the environment of a drill's gateways. They are separate from other gateways that serve the
// same policy. They share their keys, and everything else only through Redis.
type site struct {
	t       env.T
	program string   // the gateway
	file    string   // their policy
	vars    []string // added to the environment, NAME=value
	opened  int
}

// gateway is a gateway process.
type gateway struct {
	url, admin string
	process    *env.Process
	vars       []string // of its environment, beside those of the site
}

// apart is put over the policy to separate the drill's gateways. The %q are the key files of sessions
// and identities, and the URL of Redis. A null removes a key.
const apart = `
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", admin_token_file: null, peers: null, hosts: null, data_dir: "${GATEWAY_DRILL_DATA_DIR}"}
session: {keys_file: %q, identity: {keys_file: %q}}
log: {access: "off"}
redis: {url: %q}
cache: {redis_url: null}
`

// newSite writes the gateways' policy: text, with their own folder, keys and Redis, and with more.
func newSite(t env.T, program string, text []byte, redis, more string, vars ...string) *site {
	dir := t.TempDir()
	own := fmt.Sprintf(apart, filepath.Join(dir, "session.keys"), filepath.Join(dir, "identity.keys"), redis)
	var doc yaml.Node
	err := yaml.Unmarshal(text, &doc)
	for _, part := range []string{own, more} {
		var over yaml.Node
		if err = errors.Join(err, yaml.Unmarshal([]byte(part), &over)); err == nil && len(over.Content) > 0 {
			merge(doc.Content[0], over.Content[0])
		}
	}
	if err == nil {
		text, err = yaml.Marshal(&doc)
	}
	s := &site{t: t, program: program, file: filepath.Join(dir, "gateway.yaml"), vars: vars}
	if err := errors.Join(err, os.WriteFile(s.file, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	return s
}

// merge puts one document over another: lists are appended, mappings are merged, null removes a key,
// and anything else is replaced.
func merge(into, over *yaml.Node) {
	if into.Kind != over.Kind {
		*into = yaml.Node{Kind: over.Kind}
	}
	switch over.Kind {
	case yaml.SequenceNode:
		into.Content = append(into.Content, over.Content...)
	case yaml.MappingNode:
		for i := 0; i < len(over.Content); i += 2 {
			key, value, at := over.Content[i], over.Content[i+1], 0
			for at < len(into.Content) && into.Content[at].Value != key.Value {
				at += 2
			}
			missing := at == len(into.Content)
			switch {
			case value.Tag == "!!null" && missing:
			case value.Tag == "!!null":
				into.Content = slices.Delete(into.Content, at, at+2)
			case missing:
				into.Content = append(into.Content, key, &yaml.Node{Kind: value.Kind})
				fallthrough
			default:
				merge(into.Content[at+1], value)
			}
		}
	default:
		*into = *over
	}
}

// open starts one more gateway, with more variables in its environment, and waits until it serves.
func (s *site) open(vars ...string) *gateway {
	s.opened++
	dir := filepath.Join(filepath.Dir(s.file), fmt.Sprint("gateway-", s.opened))
	g := &gateway{vars: append([]string{"GATEWAY_DRILL_DATA_DIR=" + dir}, vars...)}
	s.launch(g)
	return g
}

// launch starts a gateway that does not run, again in the same place, and waits until it serves.
func (s *site) launch(g *gateway) {
	cmd := exec.Command(s.program, "run", "--config", s.file)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CACHE_") { // may name another Redis
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(append(cmd.Env, s.vars...), g.vars...)
	g.process = env.Start(s.t, cmd)
	err := g.process.Await(func() error {
		if g.url, g.admin = env.Serving(g.process.Output()); g.url == "" {
			return errors.New("the gateway does not serve")
		}
		return nil
	})
	if err != nil {
		s.t.Fatalf("%v: %s", err, lastLine(g.process.Output()))
	}
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

// status is the part of GET /v1/redis about the first Redis that drills need.
type status struct {
	State   string
	Counts  struct{ Late, Losses int }
	History []change // the last changes, oldest first
}

// change is one change, as failover.Change writes it.
type change struct {
	At               time.Time
	From, To, Reason string
}

var client = &http.Client{Timeout: 5 * time.Second}

// status gets the gateway's status of Redis.
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
func Demo(t env.T) string { return serve(t, demo.New(demo.Config{})) }

func serve(t env.T, h http.Handler) (url string) {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}
