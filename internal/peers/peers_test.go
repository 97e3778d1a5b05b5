package peers

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/journal"
	"github.com/jewgo/gateway/test/env"
)

var fleetKey = []byte("a key that all gateways share")

// network carries requests between nodes, unless an end is cut off, and reports them to a listener.
type network struct {
	mu     sync.Mutex
	cut    map[string]bool // addresses
	listen func(*http.Request, []byte)
	change func(*http.Response)
}

type wire struct {
	n    *network
	from func() Peer
	http.RoundTripper
}

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.n.mu.Lock()
	cut, listen, change := w.n.cut[r.URL.Host] || w.n.cut[w.from().Address], w.n.listen, w.n.change
	w.n.mu.Unlock()
	if cut {
		return nil, errors.New("cut off")
	}
	if listen != nil {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		listen(r, body)
	}
	resp, err := w.RoundTripper.RoundTrip(r)
	if err == nil && change != nil {
		change(resp)
	}
	return resp, err
}

func (w wire) CloseIdleConnections() { w.RoundTripper.(*http.Transport).CloseIdleConnections() }

func (n *network) set(cut bool, addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range addresses {
		n.cut[a] = cut
	}
}

// node is the part of a gateway that this package needs.
type node struct {
	*Peers
	j     *journal.Journal
	self  Peer
	mu    sync.Mutex
	fault error // of Apply
}

func newNetwork(*testing.T) *network {
	return &network{cut: map[string]bool{}}
}

func (n *network) node(t *testing.T, id string, change ...func(*Config)) *node {
	t.Helper()
	nd := &node{j: open(t)}
	l, err := net.Listen("tcp", "127.0.0.1:0") // a node's address is needed before its handler is there
	if err != nil {
		t.Fatal(err)
	}
	nd.self = Peer{ID: id, Address: l.Addr().String(), Started: epoch, Replicas: 3}
	cfg := Config{
		Keys: [][]byte{fleetKey},
		Self: func() Peer { return nd.self },
		Apply: func(ctx context.Context, records []journal.Record) error {
			nd.mu.Lock()
			fault := nd.fault
			nd.mu.Unlock()
			if fault != nil {
				return fault
			}
			return nd.j.Append(ctx, records...)
		},
		Snapshot:   nd.j.Records,
		wrap:       func(next http.RoundTripper) http.RoundTripper { return wire{n, func() Peer { return nd.self }, next} },
		Now:        at(0),
		HelloEvery: 100 * time.Millisecond,
		PullEvery:  time.Hour,
	}
	for _, c := range change {
		c(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	nd.Peers = p
	served := make(chan error, 1)
	go func() { served <- p.Serve(l) }()
	t.Cleanup(func() {
		_ = p.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve ended with %v", err)
		}
	})
	return nd
}

func meet(nodes ...*node) {
	for _, a := range nodes {
		for _, b := range nodes {
			a.Learn([]Peer{b.self})
		}
	}
}

// say appends records and sends them, as a gateway does.
func (n *node) say(t *testing.T, records ...journal.Record) (reached, failed []Peer) {
	t.Helper()
	appendAll(t, n.j, records...)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return n.Send(ctx, records)
}

func (n *node) has(keys ...string) func() bool {
	return func() bool {
		got := keysOf(n.j.Records())
		for _, k := range keys {
			if !got[k] {
				return false
			}
		}
		return true
	}
}

func (n *node) statusOf(other *node) PeerStatus {
	for _, s := range n.Known() {
		if s.ID == other.self.ID {
			return s
		}
	}
	return PeerStatus{}
}

func TestSendReachesAll(t *testing.T) {
	net := newNetwork(t)
	a, b, c := net.node(t, "a"), net.node(t, "b"), net.node(t, "c")
	meet(a, b, c)
	reached, failed := a.say(t, rec("x", 1))
	if len(reached) != 2 || len(failed) != 0 {
		t.Fatalf("reached %v, failed %v", reached, failed)
	}
	wantKeys(t, b.j, "x") // when Send returns, they have it on disk
	wantKeys(t, c.j, "x")
}

func TestOnlyWhoMakesARecordSendsIt(t *testing.T) {
	net := newNetwork(t)
	var mu sync.Mutex
	posts := map[string]int{}
	net.listen = func(r *http.Request, body []byte) {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodPost && bytes.Contains(body, []byte("value of x")) {
			from, _ := decodePeer(r.Header.Get(fromHeader))
			posts[from.ID]++
		}
	}
	a, b, c := net.node(t, "a"), net.node(t, "b"), net.node(t, "c")
	meet(a, b, c)
	for _, n := range []*node{a, b, c} {
		env.Until(t, "all know each other", func() bool {
			return len(n.Known()) == 2 && !n.Known()[0].Behind && !n.Known()[1].Behind
		})
	}
	a.say(t, rec("x", 1))
	if reached, _ := b.say(t, rec("y", 1)); len(reached) != 2 { // by now b would have passed x on, if it did so
		t.Fatal(reached)
	}
	mu.Lock()
	defer mu.Unlock()
	if posts["a"] != 2 || len(posts) != 1 {
		t.Errorf("x was sent %v times, want twice by a", posts)
	}
}

func TestCutOffAndBack(t *testing.T) {
	net := newNetwork(t)
	a, b, c := net.node(t, "a"), net.node(t, "b"), net.node(t, "c")
	meet(a, b, c)
	a.say(t, rec("x", 1))
	net.set(true, c.self.Address)
	reached, failed := a.say(t, rec("y", 1))
	if len(reached) != 1 || reached[0].ID != "b" || len(failed) != 1 || failed[0].ID != "c" {
		t.Fatalf("reached %v, failed %v", reached, failed)
	}
	if s := a.statusOf(c); s.Reachable || s.Pending != 1 || !strings.Contains(s.Error, "cut off") {
		t.Errorf("status %+v", s)
	}
	c.say(t, rec("z", 1)) // as for a user of the cut-off gateway
	net.set(false, c.self.Address)
	env.Until(t, "c gets what it missed", c.has("x", "y", "z"))
	env.Until(t, "the others get the record that c could not send", func() bool { return a.has("z")() && b.has("z")() })
	env.Until(t, "a knows that c is back", func() bool { s := a.statusOf(c); return s.Reachable && s.Pending == 0 && s.Error == "" })
}

// TestGreetingsEnd checks that a hello does not cause a hello back, which would never end.
func TestGreetingsEnd(t *testing.T) {
	net := newNetwork(t)
	var mu sync.Mutex
	hellos := 0
	net.listen = func(r *http.Request, _ []byte) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == helloPath {
			hellos++
		}
	}
	rarely := func(c *Config) { c.HelloEvery = time.Hour }
	a, b := net.node(t, "a", rarely), net.node(t, "b", rarely)
	meet(a, b)
	for i := range uint64(50) {
		a.say(t, rec("x", i))
		b.say(t, rec("y", i))
	}
	mu.Lock()
	defer mu.Unlock()
	if hellos == 0 || hellos > 10 {
		t.Errorf("%d hellos", hellos)
	}
}

func TestAPeerThatMissesTooMuch(t *testing.T) {
	net := newNetwork(t)
	a, b := net.node(t, "a"), net.node(t, "b")
	meet(a, b)
	a.say(t, rec("first", 1))
	net.set(true, b.self.Address)
	a.say(t, rec("second", 1))
	var many []journal.Record
	for i := range maxMissed {
		many = append(many, rec(fmt.Sprint(i), 1))
	}
	if reached, failed := a.say(t, many...); len(reached) != 0 || len(failed) != 1 {
		t.Fatalf("reached %v, failed %v", reached, failed)
	}
	if s := a.statusOf(b); !s.Behind || s.Pending != 0 {
		t.Errorf("status %+v", s)
	}
	net.set(false, b.self.Address)
	env.Until(t, "b gets everything", func() bool { return len(b.j.Records()) == maxMissed+2 })
	env.Until(t, "a knows", func() bool { return !a.statusOf(b).Behind })
}

func TestApplyThatFailsIsTriedAgain(t *testing.T) {
	net := newNetwork(t)
	a, b := net.node(t, "a"), net.node(t, "b")
	meet(a, b)
	b.mu.Lock()
	b.fault = journal.ErrFull
	b.mu.Unlock()
	if _, failed := a.say(t, rec("x", 1)); len(failed) != 1 {
		t.Fatal("a peer that could not apply it counts as reached")
	}
	if s := a.statusOf(b); !strings.Contains(s.Error, "full") {
		t.Errorf("status %+v", s)
	}
	b.mu.Lock()
	b.fault = nil
	b.mu.Unlock()
	env.Until(t, "it arrives later", b.has("x"))
}

func TestPull(t *testing.T) {
	net := newNetwork(t)
	a, b := net.node(t, "a"), net.node(t, "b")
	var want []string
	for i := range 100 { // several batches
		r := rec(fmt.Sprint(i), 1)
		r.Value = bytes.Repeat([]byte{byte(i)}, journal.MaxValue)
		appendAll(t, a.j, r)
		want = append(want, r.Key)
	}
	late := net.node(t, "late", func(c *Config) { c.HelloEvery = time.Hour })
	late.Learn([]Peer{a.self, b.self})
	reached, failed := late.Pull(t.Context())
	if len(reached) != 2 || len(failed) != 0 {
		t.Fatalf("reached %v, failed %v", reached, failed)
	}
	wantKeys(t, late.j, want...)
	if len(a.Known()) != 1 { // or records between the pull and the first heartbeat would be missed
		t.Errorf("after the pull, a knows %v", a.Known())
	}
	net.set(true, b.self.Address)
	if reached, failed = late.Pull(t.Context()); len(reached) != 1 || len(failed) != 1 || failed[0].ID != "b" {
		t.Errorf("reached %v, failed %v", reached, failed)
	}
}

func TestPullOfTheSameIsEmpty(t *testing.T) {
	net := newNetwork(t)
	a, b := net.node(t, "a"), net.node(t, "b")
	for _, n := range []*node{a, b} {
		appendAll(t, n.j, rec("x", 1), rec("y", 1))
	}
	b.cancel() // it still answers, and pushes nothing
	b.wg.Wait()
	var size int64
	net.change = func(r *http.Response) {
		if r.Request.URL.Path == recordsPath && r.Request.Method == http.MethodGet {
			b, _ := io.ReadAll(r.Body)
			size, r.Body = int64(len(b)), io.NopCloser(bytes.NewReader(b))
		}
	}
	if err := a.pull(t.Context(), b.self, digest(a.j.Records())); err != nil || size != 0 {
		t.Errorf("%d bytes, %v", size, err)
	}
	appendAll(t, b.j, rec("y", 2))
	if err := a.pull(t.Context(), b.self, digest(a.j.Records())); err != nil || size == 0 {
		t.Errorf("%d bytes, %v", size, err)
	}
	if news := a.j.News(b.j.Records()); len(news) > 0 {
		t.Errorf("it lacks %v", news)
	}
}

func TestPeersCompareByThemselves(t *testing.T) {
	net := newNetwork(t)
	a, b := net.node(t, "a"), net.node(t, "b", func(c *Config) { c.PullEvery = 50 * time.Millisecond })
	meet(a, b)
	env.Until(t, "they have met", func() bool { return !a.statusOf(b).Behind && a.statusOf(b).Reachable })
	appendAll(t, a.j, rec("never sent", 1)) // as if its sender had died half-way
	env.Until(t, "b gets the missing record", b.has("never sent"))
}

// A stream that is cut between two batches, or within one, does not count as complete.
func TestAStreamThatIsCut(t *testing.T) {
	for _, keep := range []int{5, 40} {
		net := newNetwork(t)
		a, b := net.node(t, "a"), net.node(t, "b")
		appendAll(t, b.j, rec("x", 1))
		net.change = func(r *http.Response) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body[:min(keep, len(body))]))
		}
		if a.pull(t.Context(), b.self, digest(a.j.Records())) == nil {
			t.Errorf("a stream of %d bytes is accepted", keep)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		why    string
		body   []byte
		status int
		text   string
	}{
		{"a batch", encodeBatch([]journal.Record{rec("x", 1)}), 204, ""},
		{"too long a body", make([]byte, maxBatch+1), 413, "too large"},
		{"a body that is not a batch", []byte("no batch"), 400, "not a record"},
	} {
		t.Run(c.why, func(t *testing.T) {
			a := newNetwork(t).node(t, "a")
			w := httptest.NewRecorder()
			a.handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, recordsPath, bytes.NewReader(c.body)))
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) {
				t.Errorf("status %d, %q; want %d, %q", w.Code, w.Body, c.status, c.text)
			}
			if c.status != 204 && len(a.j.Records()) != 0 {
				t.Errorf("records were applied: %v", a.j.Records())
			}
		})
	}
}

// A client that does not prove a common key, over TLS 1.3, is rejected.
func TestStrangersAreNotHeard(t *testing.T) {
	a := newNetwork(t).node(t, "a")
	other, err := newIdentity([][]byte{[]byte("another key, as long as it needs")})
	if err != nil {
		t.Fatal(err)
	}
	withKey := a.identity.config()
	withKey.MaxVersion, withKey.MinVersion = tls.VersionTLS12, tls.VersionTLS12
	for why, config := range map[string]*tls.Config{
		"no certificate":         {InsecureSkipVerify: true},
		"another key":            {InsecureSkipVerify: true, Certificates: other.certs},
		"another key, with ours": {InsecureSkipVerify: true, Certificates: []tls.Certificate{{Certificate: append([][]byte{other.certs[0].Certificate[0]}, a.identity.certs[0].Certificate...), PrivateKey: other.certs[0].PrivateKey}}},
		"an older version":       withKey,
	} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
		res, err := client.Get("https://" + a.self.Address + helloPath)
		if err == nil {
			_ = res.Body.Close()
			t.Errorf("%s: %s", why, res.Status)
		}
		client.CloseIdleConnections()
		if plain, err := http.Get("http://" + a.self.Address + helloPath); err == nil {
			if plain.StatusCode != http.StatusBadRequest {
				t.Errorf("without TLS: %s", plain.Status)
			}
			_ = plain.Body.Close()
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestLearn(t *testing.T) {
	clk := env.NewClock(epoch)
	p := func(id, address string, started time.Duration) Peer {
		return Peer{ID: id, Address: address, Started: epoch.Add(started)}
	}
	stale := p("b", "b:1", 0)
	stale.Seen = epoch.Add(-2 * time.Hour)
	for _, c := range []struct {
		why  string
		told []Peer
		want string
	}{
		{"others are known by address", []Peer{p("c", "c:1", 0), p("b", "b:1", 0)}, "b@b:1 c@c:1"},
		{"a later run replaces an earlier one", []Peer{p("b", "b:1", 0), p("b2", "b:1", 1)}, "b2@b:1"},
		{"an earlier one does not come back", []Peer{p("b2", "b:1", 1), p("b", "b:1", 0)}, "b2@b:1"},
		{"one may move", []Peer{p("b", "b:1", 0), p("b", "b:2", 0)}, "b@b:2"},
		{"this gateway and its earlier run are left out", []Peer{p("a", "a:1", 0), p("old", "self:1", 0)}, ""},
		{"one not seen for long is left out", []Peer{stale}, ""},
		{"malformed ones are left out", []Peer{p("", "b:1", 0), p("b", "b", 0), p(strings.Repeat("b", 129), "b:1", 0)}, ""},
	} {
		t.Run(c.why, func(t *testing.T) {
			a := newNetwork(t).node(t, "a", func(cfg *Config) {
				cfg.Now, cfg.Self = clk.Now, func() Peer { return Peer{ID: "a", Address: "self:1"} }
				cfg.wrap = refuse
			})
			for _, peer := range c.told {
				a.Learn([]Peer{peer})
			}
			var got []string
			for _, s := range a.Known() {
				got = append(got, s.ID+"@"+s.Address)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}

func refuse(http.RoundTripper) http.RoundTripper { return refusing{} }

type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }

func TestPeersAreBoundedAndForgotten(t *testing.T) {
	clk := env.NewClock(epoch)
	a := newNetwork(t).node(t, "a", func(c *Config) {
		c.Now, c.wrap = clk.Now, refuse
	})
	for i := range maxPeers + 10 {
		a.Learn([]Peer{{ID: fmt.Sprint(i), Address: fmt.Sprint("host:", i+1)}})
	}
	if n := len(a.Known()); n != maxPeers {
		t.Errorf("%d peers, want %d", n, maxPeers)
	}
	clk.Advance(time.Hour + time.Second)
	env.Until(t, "they are dropped", func() bool { return len(a.Known()) == 0 })
}

func TestPeersAreRemembered(t *testing.T) {
	net := newNetwork(t)
	file := filepath.Join(t.TempDir(), "peers.json")
	remember := func(c *Config) { c.File = file }
	a, b := net.node(t, "a", remember), net.node(t, "b")
	a.Learn([]Peer{b.self})
	env.Until(t, "the file is written", func() bool { _, err := os.Stat(file); return err == nil })
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	appendAll(t, b.j, rec("x", 1))
	again := net.node(t, "a2", remember)
	if reached, failed := again.Pull(t.Context()); len(reached) != 1 || len(failed) != 0 {
		t.Errorf("reached %v, failed %v", reached, failed)
	}
	wantKeys(t, again.j, "x")
}

func TestAPeersFileThatIsBroken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peers.json")
	if err := os.WriteFile(file, []byte(`[{"id": "b"`), 0o600); err != nil {
		t.Fatal(err)
	}
	a := newNetwork(t).node(t, "a", func(c *Config) { c.File = file })
	if len(a.Known()) != 0 {
		t.Error(a.Known())
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if peers, err := readPeers(file); err != nil || len(peers) != 0 {
		t.Errorf("it was not replaced: %v, %v", peers, err)
	}
}

// TestARestartedPeerIsFound: another run answers at a known address.
func TestARestartedPeerIsFound(t *testing.T) {
	net := newNetwork(t)
	a, b := net.node(t, "a"), net.node(t, "b")
	before := b.self
	before.ID, before.Started = "before", epoch.Add(-time.Hour)
	a.Learn([]Peer{before})
	env.Until(t, "the new run replaces the old one", func() bool {
		known := a.Known()
		return len(known) == 1 && known[0].ID == "b" && known[0].Reachable
	})
	if reached, _ := a.say(t, rec("x", 1)); len(reached) != 1 {
		t.Errorf("reached %v", reached)
	}
}

func TestNewRefuses(t *testing.T) {
	self := func() Peer { return Peer{ID: "a", Address: "a:1"} }
	for _, c := range []struct {
		why string
		cfg Config
	}{
		{"a short key", Config{Keys: [][]byte{fleetKey, []byte("short")}, Self: self}},
		{"an address without a port", Config{Keys: [][]byte{fleetKey}, Self: func() Peer { return Peer{ID: "a", Address: "a"} }}},
	} {
		t.Run(c.why, func(t *testing.T) {
			if _, err := New(c.cfg); err == nil {
				t.Error("it is taken")
			}
		})
	}
}

// An unreachable peer is retried after a while, not for each record.
func TestAPeerThatIsAwayIsLeftAlone(t *testing.T) {
	var asked atomic.Int64
	a := newNetwork(t).node(t, "a", func(c *Config) {
		c.wrap = func(http.RoundTripper) http.RoundTripper {
			return roundTripper(func(*http.Request) (*http.Response, error) {
				asked.Add(1)
				return nil, errors.New("refused")
			})
		}
	})
	a.Learn([]Peer{{ID: "b", Address: "b:1"}})
	env.Until(t, "it has been tried", func() bool { return asked.Load() > 0 })
	for i := range uint64(200) {
		a.say(t, rec("x", i))
	}
	if n := asked.Load(); n > 10 {
		t.Errorf("asked %d times", n)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
