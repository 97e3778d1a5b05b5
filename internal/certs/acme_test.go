package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/acme"
	"github.com/jewgo/gateway/test/env"
)

func TestMain(m *testing.M) { env.SideBySide(12); m.Run() } // they wait most of the time

// place is where an ACME server validates: an address of HTTPS and one of plain HTTP.
type place struct{ https, plain *net.TCPAddr }

func newPlace(t *testing.T) place {
	t.Helper()
	free := func() *net.TCPAddr {
		port, err := strconv.Atoi(env.FreePort(t))
		if err != nil {
			t.Fatal(err)
		}
		return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	}
	return place{free(), free()}
}

func (p place) config() acme.Config {
	return acme.Config{HTTPPort: p.plain.Port, TLSPort: p.https.Port}
}

// node is a gateway's certificates, served at a place.
type node struct {
	*Keeper
	t    *testing.T
	at   place
	host string
	stop func()

	listeners []net.Listener
}

// nodeConfig is what a node needs. The zero value of the rest works.
type nodeConfig struct {
	server *acme.Server
	host   string
	at     place
	dir    string
	keys   [][]byte
	redis  *remote
	files  []policy.CertificateDef
	// The challenges that the node answers.
	noHTTP, noALPN bool
	share          func(Shared) Shared // wraps redis
	sharedEvery    time.Duration       // 0: 100 ms
}

func startNode(t *testing.T, cfg nodeConfig) *node {
	t.Helper()
	if cfg.dir == "" {
		cfg.dir = t.TempDir()
	}
	if cfg.keys == nil {
		cfg.keys = [][]byte{make([]byte, 32)}
	}
	tlsPolicy := &policy.TLS{MinVersion: tls.VersionTLS12, Certificates: cfg.files, ACME: &policy.ACME{Hosts: policy.StringList{cfg.host}, Directory: cfg.server.Directory, CAFile: cfg.server.CAFile}}
	config := Config{Now: time.Now, Every: 20 * time.Millisecond, Log: slog.New(slog.NewTextHandler(testLog{t}, nil)), ACME: &ACMEConfig{
		Policy: tlsPolicy.ACME, Dir: cfg.dir, Keys: cfg.keys,
		Retry: 50 * time.Millisecond, RetryRefused: 100 * time.Millisecond, SharedEvery: 100 * time.Millisecond,
	}}
	if cfg.redis != nil {
		config.ACME.Shared, config.ACME.Health = redis.NewCertificates(cfg.redis.client), cfg.redis.health
	}
	if cfg.share != nil {
		config.ACME.Shared, config.ACME.SharedEvery = cfg.share(config.ACME.Shared), cfg.sharedEvery
	}
	k, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Keeper: k, t: t, at: cfg.at, host: cfg.host}
	commit, err := k.Prepare(&policy.Snapshot{Policy: &policy.Policy{Server: policy.Server{TLS: tlsPolicy}}})
	if err != nil {
		t.Fatal(err)
	}
	commit()
	served := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.NotFoundHandler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	plain := &http.Server{ReadHeaderTimeout: time.Second, Handler: k.Plain(http.NotFoundHandler())}
	for server, at := range map[*http.Server]*net.TCPAddr{served: cfg.at.https, plain: cfg.at.plain} {
		l, err := net.ListenTCP("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		n.listeners = append(n.listeners, l)
		go func() { // ends with stop
			if server == served {
				_ = server.Serve(tls.NewListener(l, k.TLS()))
			}
			_ = server.Serve(l)
		}()
	}
	https, http := cfg.at.https, cfg.at.plain
	if cfg.noALPN {
		https = nil
	}
	if cfg.noHTTP {
		http = nil
	}
	k.Answer(https, http)
	end := env.Run(t, k.Run)
	n.stop = sync.OnceFunc(func() {
		end()
		k.Close()
		_ = served.Close()
		_ = plain.Close()
	})
	t.Cleanup(n.stop)
	return n
}

// startAlone starts a node for a host with a server of its own, whose certificates live so long.
func startAlone(t *testing.T, host string, lifetime time.Duration) (*node, *acme.Server) {
	t.Helper()
	at := newPlace(t)
	cfg := at.config()
	cfg.Lifetime = lifetime
	server := acme.Start(t, cfg)
	return startNode(t, nodeConfig{server: server, at: at, host: host}), server
}

// testLog writes into the log of a test.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// serial is the serial number of the certificate that is served, after a check by roots; nil: no check.
func (n *node) serial(roots *x509.CertPool) (string, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", n.at.https.String(),
		&tls.Config{ServerName: n.host, RootCAs: roots, InsecureSkipVerify: roots == nil})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

// await waits until a certificate is served, and returns its serial number.
func (n *node) await(roots *x509.CertPool) (serial string) {
	n.t.Helper()
	env.Eventually(n.t, 30*time.Second, func() (err error) {
		serial, err = n.serial(roots)
		return err
	})
	return serial
}

// awaitNew waits until another certificate is served.
func (n *node) awaitNew(roots *x509.CertPool, than string) (serial string) {
	n.t.Helper()
	env.Eventually(n.t, 30*time.Second, func() (err error) {
		if serial, err = n.serial(roots); err == nil && serial == than {
			err = errors.New("still the same certificate")
		}
		return err
	})
	return serial
}

func TestFirstOrderByEachChallenge(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*nodeConfig, *acme.Config){
		"http-01":     func(n *nodeConfig, _ *acme.Config) { n.noALPN = true },
		"tls-alpn-01": func(n *nodeConfig, _ *acme.Config) { n.noHTTP = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := nodeConfig{at: newPlace(t), host: name + ".test"}
			at := cfg.at.config()
			set(&cfg, &at)
			cfg.server = acme.Start(t, at)
			n := startNode(t, cfg)
			n.await(cfg.server.Roots())
			if got := cfg.server.Orders(); got != 1 {
				t.Errorf("%d orders", got)
			}
			if c := n.Certificates()[0]; c.Missing || c.Problem != "" || c.Ending || c.Names[0] != cfg.host {
				t.Errorf("status %+v", c)
			}
		})
	}
}

func TestNamesThatAreNotServed(t *testing.T) {
	t.Parallel()
	at := newPlace(t)
	server := acme.Start(t, at.config())
	n := startNode(t, nodeConfig{server: server, at: at, host: "named.test"})
	n.await(server.Roots())
	dial := func(name string, protocols ...string) error {
		conn, err := tls.Dial("tcp", at.https.String(), &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true})
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: named.test\r\n\r\n")); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	if err := dial("other.test"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("a name that is not served: %v, want unrecognized name", err)
	}
	if err := dial(""); err != nil { // as health checks come, which know no name
		t.Errorf("without a name: %v", err)
	}
	if dial("named.test", "acme-tls/1") == nil {
		t.Error("a connection for validation was served")
	}
}

func TestFilesServeUntilTheServerHasGiven(t *testing.T) {
	t.Parallel()
	at, ca := newPlace(t), env.NewCA(t)
	server := acme.Start(t, at.config())
	server.Stop()
	n := startNode(t, nodeConfig{server: server, at: at, host: "mixed.test", files: []policy.CertificateDef{def(ca.Issue(t, "mixed.test"))}})
	if _, err := n.serial(ca.Pool); err != nil {
		t.Errorf("the certificate in files: %v", err)
	}
	server.Restart()
	n.await(server.Roots())
}

func TestRenewalWithoutAGap(t *testing.T) {
	t.Parallel()
	n, server := startAlone(t, "renewed.test", 30*time.Second) // renewed at 20
	serial, seen := n.await(server.Roots()), 1
	for end := time.Now().Add(31 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		now, err := n.serial(server.Roots())
		if err != nil {
			t.Fatal(err)
		}
		if now != serial {
			serial, seen = now, seen+1
		}
		if c := n.Certificates()[0]; c.Problem != "" {
			t.Errorf("a renewal at its time is told as a failure: %s", c)
		}
	}
	if orders := server.Orders(); seen < 2 || orders > seen+1 {
		t.Errorf("%d certificates were served, of %d orders", seen, orders)
	}
}

func TestServerDownAtTheStart(t *testing.T) {
	t.Parallel()
	at := newPlace(t)
	server := acme.Start(t, at.config())
	server.Stop()
	n := startNode(t, nodeConfig{server: server, at: at, host: "start.test"})
	env.Eventually(t, 10*time.Second, func() error {
		if c := n.Certificates()[0]; !c.Missing || !strings.Contains(c.String(), "start.test: none yet") || !strings.Contains(c.Problem, "connection refused") || !strings.Contains(c.Problem, "next try at") {
			return fmt.Errorf("status %s", c)
		}
		return nil
	})
	if _, err := n.serial(server.Roots()); err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("a handshake without a certificate: %v", err)
	}
	server.Restart()
	n.await(server.Roots())
}

func TestServerDownAtRenewal(t *testing.T) {
	t.Parallel()
	n, server := startAlone(t, "down.test", 6*time.Second)
	serial := n.await(server.Roots())
	server.Stop()
	expired := time.Now().Add(7 * time.Second)
	for time.Now().Before(expired) {
		if now, err := n.serial(nil); err != nil || now != serial {
			t.Fatalf("served %s: %v, want the old certificate, though it expires", now, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if c := n.Certificates()[0]; !c.Ending || !strings.Contains(c.Problem, "connection refused") {
		t.Errorf("status %s", c)
	}
	server.Restart()
	n.awaitNew(server.Roots(), serial)
}

func TestServerThatForgot(t *testing.T) {
	t.Parallel()
	n, server := startAlone(t, "forgot.test", 6*time.Second)
	serial := n.await(server.Roots())
	server.Forget()
	n.awaitNew(server.Roots(), serial)
}

// remote is a Redis with its switch.
type remote struct {
	*env.RedisServer
	client goredis.UniversalClient
	health *failover.Switch
}

func startRedis(t *testing.T) *remote { t.Helper(); return connect(t, env.Redis(t)) }

// connect is a gateway's own connection.
func connect(t *testing.T, server *env.RedisServer) *remote {
	t.Helper()
	client, err := redis.Open(redis.Config{URL: server.URL, Budget: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r := &remote{RedisServer: server, client: client, health: failover.New(failover.Config{
		Probe: redis.Probe(client), Renew: redis.Renew(client), Classify: redis.Classify, InFlight: redis.InFlight(client), Budget: 500 * time.Millisecond,
	})}
	stop := env.Run(t, r.health.Run)
	t.Cleanup(func() {
		stop()
		_ = client.Close()
	})
	r.up(t, true)
	return r
}

func (r *remote) up(t *testing.T, up bool) {
	t.Helper()
	env.Until(t, fmt.Sprint("Redis is up: ", up), func() bool { return r.health.Up() == up })
}

func (r *remote) flush(t *testing.T) {
	t.Helper()
	if err := r.client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

// copies are the values of certificates and accounts in Redis.
func (r *remote) copies(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	keys, err := r.client.Keys(t.Context(), "gw:{tls}:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		value, err := r.client.Get(t.Context(), key).Result()
		if err != nil && !errors.Is(err, goredis.Nil) {
			t.Fatal(err)
		}
		all[key] = value
	}
	return all
}

// awaitCopies waits until a certificate and an account are in Redis.
func (r *remote) awaitCopies(t *testing.T) (all map[string]string) {
	t.Helper()
	env.Eventually(t, 10*time.Second, func() error {
		if all = r.copies(t); len(all) != 2 {
			return fmt.Errorf("Redis has %d copies, want a certificate's and an account's", len(all))
		}
		return nil
	})
	return all
}

func TestRedisEmptiedAndAway(t *testing.T) {
	t.Parallel()
	at, dir, shared := newPlace(t), t.TempDir(), startRedis(t)
	server := acme.Start(t, at.config())
	cfg := nodeConfig{server: server, at: at, host: "kept.test", dir: dir, redis: shared}
	n := startNode(t, cfg)
	serial := n.await(server.Roots())
	for key, value := range shared.awaitCopies(t) {
		if strings.Contains(value, "PRIVATE") || strings.Contains(value, "kept") || strings.Contains(value, "BEGIN") {
			t.Errorf("%s is not sealed", key)
		}
	}
	for range 10 {
		shared.flush(t)
		shared.awaitCopies(t)
	}
	shared.Kill()
	shared.up(t, false)
	n.stop()
	n = startNode(t, cfg)
	if got, err := n.serial(server.Roots()); err != nil || got != serial {
		t.Errorf("after a restart in the outage: %s (%v), want %s", got, err, serial)
	}
	shared.Restart(true)
	shared.up(t, true)
	shared.awaitCopies(t)

	// A gateway without a disk of its own takes the one from Redis.
	n.stop()
	cfg.dir = t.TempDir()
	n = startNode(t, cfg)
	if got := n.await(server.Roots()); got != serial {
		t.Errorf("from Redis: %s, want %s", got, serial)
	}
	if got := server.Orders(); got != 1 {
		t.Errorf("%d orders, want 1", got)
	}
}

func TestKeysAreRotated(t *testing.T) {
	t.Parallel()
	at, shared := newPlace(t), startRedis(t)
	server := acme.Start(t, at.config())
	old, next := make([]byte, 32), []byte(strings.Repeat("n", 32))
	cfg := nodeConfig{server: server, at: at, host: "sealed.test", redis: shared, keys: [][]byte{old}}
	n := startNode(t, cfg)
	serial := n.await(server.Roots())
	before := shared.awaitCopies(t)
	for _, keys := range [][][]byte{{old, next}, {next, old}} {
		n.stop()
		cfg.keys, cfg.dir = keys, t.TempDir()
		n = startNode(t, cfg)
		if got := n.await(server.Roots()); got != serial {
			t.Fatalf("%d keys: another certificate", len(keys))
		}
	}
	env.Eventually(t, 10*time.Second, func() error {
		for key, value := range shared.copies(t) {
			if value == before[key] {
				return fmt.Errorf("%s is still sealed with the old key", key)
			}
		}
		return nil
	})
	n.stop()
	cfg.keys, cfg.dir = [][]byte{next}, t.TempDir()
	n = startNode(t, cfg)
	if got := n.await(server.Roots()); got != serial || server.Orders() != 1 {
		t.Errorf("with the new key alone: another certificate, %d orders", server.Orders())
	}
}

func TestAnotherGatewaysRenewalIsUsed(t *testing.T) {
	t.Parallel()
	at, elsewhere, shared := newPlace(t), newPlace(t), startRedis(t)
	cfg := at.config()
	cfg.Lifetime = 12 * time.Second
	server := acme.Start(t, cfg)
	one := startNode(t, nodeConfig{server: server, at: at, host: "both.test", redis: shared})
	two := startNode(t, nodeConfig{server: server, at: elsewhere, host: "both.test", redis: connect(t, shared.RedisServer)})
	first := one.await(server.Roots())
	if got := two.await(server.Roots()); got != first {
		t.Errorf("the two serve different certificates")
	}
	next := one.awaitNew(server.Roots(), first)
	if got := two.awaitNew(server.Roots(), first); got != next && server.Orders() > 2 {
		t.Errorf("each renewed: %d orders", server.Orders())
	}
	if got := server.Orders(); got != 2 {
		t.Errorf("%d orders for two certificates", got)
	}
}

// faulty is a Redis in which something happens when a certificate is put.
type faulty struct {
	Shared
	puts *atomic.Int64 // of certificates
	put  func(n int64, put func() error) error
}

func (f faulty) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	put := func() error { return f.Shared.Put(ctx, key, value, ttl) }
	if !strings.HasPrefix(key, "certificates/") {
		return put()
	}
	return f.put(f.puts.Add(1), put)
}

// Two gateways are due at once, and Redis fails at the moment when the one has its new certificate: the other
// one, which waits for the lock, does not order again.
func TestOneOrderWhereRedisFailsAtTheWorstMoment(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(shared *remote, n int64, put func() error) error{
		"takes it late": func(_ *remote, n int64, put func() error) error {
			if n <= 4 {
				return errors.New("late")
			}
			return put()
		},
		"is emptied then": func(shared *remote, n int64, put func() error) error {
			err := put()
			if n == 2 { // the last part of the renewal
				err = errors.Join(err, shared.client.FlushAll(context.Background()).Err())
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, shared := newPlace(t), startRedis(t)
			cfg := at.config()
			cfg.Lifetime = 12 * time.Second
			server := acme.Start(t, cfg)
			var puts, begun atomic.Int64
			share := func(s Shared) Shared {
				return faulty{s, &puts, func(n int64, do func() error) error {
					if first := begun.Load(); first > 0 && n > first {
						return put(shared, n-first, do)
					}
					return do()
				}}
			}
			host := strings.ReplaceAll(name, " ", "-") + ".test"
			one := startNode(t, nodeConfig{server: server, at: at, host: host, redis: shared, share: share, sharedEvery: 10 * time.Second})
			first := one.await(server.Roots())
			two := startNode(t, nodeConfig{server: server, at: newPlace(t), host: host, redis: connect(t, shared.RedisServer), share: share, sharedEvery: 10 * time.Second})
			if two.await(server.Roots()) != first {
				t.Fatal("it is not shared")
			}
			begun.Store(puts.Load())
			next := one.awaitNew(server.Roots(), first)
			if got := two.awaitNew(server.Roots(), first); got != next {
				t.Errorf("the two serve different certificates")
			}
			if got := server.Orders(); got != 2 {
				t.Errorf("%d orders for two certificates", got)
			}
		})
	}
}

// A disk that takes nothing at renewal costs neither the certificate nor orders, and gets it later.
func TestADiskThatIsFullAtRenewal(t *testing.T) {
	t.Parallel()
	at, dir := newPlace(t), t.TempDir()
	cfg := at.config()
	cfg.Lifetime = 9 * time.Second
	server, began := acme.Start(t, cfg), time.Now()
	n := startNode(t, nodeConfig{server: server, at: at, host: "full.test", dir: dir})
	first := n.await(server.Roots())
	file := fileOf(dir, n.acme.unit("full.test"))
	if err := os.Mkdir(file+".new", 0o700); err != nil { // nothing can be written in its place
		t.Fatal(err)
	}
	next := n.awaitNew(server.Roots(), first)
	most := 1 + int(time.Since(began)/(cfg.Lifetime*2/3)) // 2, unless the machine was busy
	if c := n.Certificates()[0]; !strings.Contains(c.Problem, "not on disk") || server.Orders() < 2 || server.Orders() > most {
		t.Errorf("%d orders, status %s", server.Orders(), c)
	}
	if err := os.Remove(file + ".new"); err != nil {
		t.Fatal(err)
	}
	env.Eventually(t, env.Patience, func() error {
		pair, err := openStorage(t, dir).load(n.acme.unit("full.test")).pair()
		if err != nil || pair.Leaf.SerialNumber.String() != next {
			return fmt.Errorf("on disk is another one (%w)", err)
		}
		return nil
	})
}

// A gateway that drains closes its listeners, and its successor wants their ports.
func TestNothingIsOrderedWhileDraining(t *testing.T) {
	t.Parallel()
	n, server := startAlone(t, "drains.test", 6*time.Second)
	n.await(server.Roots())
	n.EndOrders(5 * time.Second)
	for _, l := range n.listeners {
		_ = l.Close() // which ends Accept
	}
	for end := time.Now().Add(6 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		for _, port := range []*net.TCPAddr{n.at.https, n.at.plain} {
			if conn, err := net.Dial("tcp", port.String()); err == nil {
				_ = conn.Close()
				t.Fatalf("somebody listens on %s again", port)
			}
		}
	}
	if got := server.Orders(); got != 1 {
		t.Errorf("%d orders", got)
	}
}

// A clock that was ahead does not make an old certificate the latest for ever.
func TestAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	one, two := lockers(t, startRedis(t))
	ca := env.NewCA(t)
	one.now = func() time.Time { return time.Now().Add(60 * 24 * time.Hour) }
	store(t, one, site(t, ca)...)
	two.refresh(t.Context(), siteUnit)
	one.now = time.Now
	renewed := site(t, ca)
	store(t, one, renewed...)
	for name, s := range map[string]*storage{"the other": two, "its own": one} {
		if got := string(s.refresh(t.Context(), siteUnit).Files["a.test.crt"]); got != renewed[1][1] {
			t.Errorf("%s gateway has the old certificate", name)
		}
	}
}

func TestAChallengeEndsWithItsOrder(t *testing.T) {
	t.Parallel()
	one, two := lockers(t, startRedis(t))
	const token = "acme/ca/challenge_tokens/a.test.json"
	store(t, one, [2]string{token, "{}"})
	if text, err := two.Load(t.Context(), token); err != nil || string(text) != "{}" { // a validation arrived there
		t.Fatalf("%q, %v", text, err)
	}
	if err := one.Delete(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if one.Exists(t.Context(), token) || two.Exists(t.Context(), token) {
		t.Error("it is still there")
	}
}

// lockers are two gateways' storages on one Redis.
func lockers(t *testing.T, shared *remote) (one, two *storage) {
	t.Helper()
	open := func() *storage {
		seal, err := newSealer([][]byte{make([]byte, 32)})
		if err != nil {
			t.Fatal(err)
		}
		s, err := newStorage(&storage{
			dir: t.TempDir(), shared: redis.NewCertificates(shared.client), health: shared.health, seal: seal, rest: 4 * lockEvery, alone: 3 * time.Second,
			now: time.Now, log: slog.New(slog.DiscardHandler), changed: func() {},
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return open(), open()
}

func TestOneGatewayHoldsALock(t *testing.T) {
	const orderLock = "issue_cert_a.test"
	t.Parallel()
	shared := startRedis(t)
	one, two := lockers(t, shared)
	ctx := t.Context()
	if err := one.Lock(ctx, orderLock); err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() { got <- two.Lock(ctx, orderLock) }()
	for range 5 { // an emptied Redis gets it back
		time.Sleep(lockEvery + lockEvery/2)
		shared.flush(t)
	}
	select {
	case err := <-got:
		t.Fatalf("both hold the lock (%v)", err)
	case <-time.After(2 * 4 * lockEvery):
	}
	if err := one.Unlock(ctx, orderLock); err != nil {
		t.Fatal(err)
	}
	if err := env.Receive(t, "the lock", got); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 4*lockEvery)
	defer cancel()
	if err := one.Lock(short, orderLock); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a lock that another one holds: %v", err)
	}
	shared.Kill()
	shared.up(t, false)
	if err := one.Lock(ctx, orderLock); err != nil {
		t.Errorf("without Redis: %v", err)
	}
	for _, s := range []*storage{one, two} {
		if err := s.Unlock(ctx, orderLock); err != nil {
			t.Error(err)
		}
	}
}
