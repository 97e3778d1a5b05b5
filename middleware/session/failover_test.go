package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/storetest"
)

// member is one gateway of a fleet.
type member struct {
	*session.Failover
	local  *memory.Sessions
	remote *redis.Sessions
	health *failover.Switch
}

// join makes a gateway that uses the Redis at addr. wrap (nil: none) may stand
// between it and its remote store.
func join(t *testing.T, addr string, now func() time.Time, wrap func(session.Store) session.Store) *member {
	client := goredis.NewClient(&goredis.Options{
		Addr: addr, ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second, DisableIdentity: true,
	})
	m := &member{
		local:  memory.NewSessions(memory.SessionsConfig{Now: now}),
		remote: redis.NewSessions(client, now),
		health: failover.New(failover.Config{
			Probe: redis.Probe(client), Renew: redis.Renew(client), Classify: redis.Classify,
			Budget: time.Second, UpInterval: 20 * time.Millisecond, DownInterval: 20 * time.Millisecond,
		}),
	}
	var remote session.Store = m.remote
	if wrap != nil {
		remote = wrap(remote)
	}
	m.Failover = session.NewFailover(session.FailoverConfig{Switch: m.health, Remote: remote, Local: m.local})
	t.Cleanup(func() { _ = client.Close() })
	env.Run(t, m.health.Run)
	<-m.health.Probed()
	return m
}

// silence discards go-redis's log line for each failed dial.
type silence struct{}

func init() { goredis.SetLogger(silence{}) }

func (silence) Printf(context.Context, string, ...any) {}

// wait lets the gateway notice that Redis is there (or not).
func (m *member) wait(t *testing.T, up bool) {
	t.Helper()
	env.Eventually(t, env.Patience, func() error {
		if m.health.Up() != up {
			return fmt.Errorf("the switch does not become up=%v: %+v", up, m.health.Status())
		}
		return nil
	})
}

func requestContext() (context.Context, *exchange.Exchange) {
	ex := &exchange.Exchange{}
	return exchange.With(context.Background(), ex), ex
}

func TestFailoverIsAStore(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	t.Run("with Redis", func(t *testing.T) {
		storetest.Sessions(t, func(t *testing.T) storetest.SessionStore {
			return storetest.SessionStore{Store: join(t, server.Addr, time.Now, nil), Now: time.Now, Sleep: time.Sleep}
		})
	})
	t.Run("while Redis is down", func(t *testing.T) {
		storetest.Sessions(t, func(t *testing.T) storetest.SessionStore {
			c := env.NewClock(start)
			m := join(t, "127.0.0.1:1", c.Now, nil)
			return storetest.SessionStore{Store: knownStore{m}, Now: c.Now, Sleep: c.Advance}
		})
	})
	t.Run("in memory alone", func(t *testing.T) {
		storetest.Sessions(t, func(*testing.T) storetest.SessionStore {
			c := env.NewClock(start)
			store := session.NewFailover(session.FailoverConfig{Local: memory.NewSessions(memory.SessionsConfig{Now: c.Now})})
			return storetest.SessionStore{Store: store, Now: c.Now, Sleep: c.Advance}
		})
	})
}

// knownStore turns ErrUnreachable into ErrUnknown for a suite that knows no outages.
type knownStore struct{ session.Store }

func (s knownStore) Load(ctx context.Context, ref session.Ref) (session.Record, error) {
	rec, err := s.Store.Load(ctx, ref)
	if errors.Is(err, session.ErrUnreachable) {
		err = session.ErrUnknown
	}
	return rec, err
}

func TestALogoutDuringAnOutageHolds(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	keys := ringOf(t, "a")
	c := env.NewClock(start)
	one, two := join(t, server.Addr, c.Now, nil), join(t, server.Addr, c.Now, nil)
	first, second := newGateway(t, keys, one), newGateway(t, keys, two)

	cookie, other := first.login("42"), first.login("43")
	second.expect("the other gateway before", cookie, "42", "valid")
	server.Kill()
	r := first.get("/signal", cookie, "logout")
	if r.set == nil || r.set.MaxAge != -1 || !r.ex.Facts.Local {
		t.Errorf("logout during the outage: %+v, %+v", r.set, r.ex.Facts)
	}
	first.expect("the cookie during the outage", cookie, "", "revoked")
	one.wait(t, false)
	two.wait(t, false)
	first.expect("another user during the outage", other, "43", "valid")

	server.Restart(true)
	one.wait(t, true)
	two.wait(t, true)
	first.expect("the cookie after the outage", cookie, "", "revoked")
	second.expect("the cookie at the other gateway", cookie, "", "revoked")
	first.expect("another user after the outage", other, "43", "valid")

	server.Kill() // lost again, without another logout
	one.wait(t, false)
	server.Restart(true)
	one.wait(t, true)
	newcomer := newGateway(t, keys, join(t, server.Addr, c.Now, nil))
	newcomer.expect("the cookie at a gateway that knows it from Redis alone", cookie, "", "revoked")
}

func TestALiveSessionOutlivesAnEmptiedRedis(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	keys := ringOf(t, "a")
	c := env.NewClock(start)
	one, two := join(t, server.Addr, c.Now, nil), join(t, server.Addr, c.Now, nil)
	first, second := newGateway(t, keys, one), newGateway(t, keys, two)
	cookie := first.get("/signal", first.login("42"), `set {"k":"v"}`).cookie
	server.Kill()
	first.expect("during the outage, where it began", cookie, "42", "valid")
	second.expect("during the outage, elsewhere", cookie, "42", "valid")
	if r := second.get("/required", cookie); !r.ex.Facts.Local {
		t.Error("an outage is not told to the log")
	}
	server.Restart(true)
	one.wait(t, true)
	two.wait(t, true)
	second.expect("after the outage, elsewhere", cookie, "42", "valid")
	first.expect("after the outage, where it began", cookie, "42", "valid")
	// The store lost the record. The first gateway has it, and sends it once it has noticed that.
	seal, err := session.NewSealer(keys).Open(cookieName, host, cookie, c.Now())
	if err != nil {
		t.Fatal(err)
	}
	env.Until(t, "the record", func() bool { _, err := two.remote.Load(t.Context(), seal.Ref()); return err == nil })
	if v := second.values(cookie); v["k"] != "v" {
		t.Errorf("the other gateway sees the values %v", v)
	}
}

func TestAnOutageOverwritesNoRecordThatCouldNotBeRead(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	keys := ringOf(t, "a")
	c := env.NewClock(start)
	one, two := join(t, server.Addr, c.Now, nil), join(t, server.Addr, c.Now, nil)
	first, second := newGateway(t, keys, one), newGateway(t, keys, two)
	first.clock, second.clock = c, c
	cookie := first.get("/signal", first.login("42"), `set {"k":"v"}`).cookie
	server.Stop()
	two.wait(t, false)
	c.Advance(10 * time.Minute) // so that the second gateway makes a new seal
	touched := second.get("/required", cookie)
	if touched.StatusCode != 200 || touched.cookie == "" {
		t.Errorf("during the outage: %d, %+v", touched.StatusCode, touched.ex.Facts)
	}
	second.get("/signal", cookie, `set {"other":"1"}`)
	server.Cont()
	two.wait(t, true)
	second.expect("afterwards", cookie, "42", "valid")
	second.expect("and again", cookie, "42", "valid")
	if v := second.values(cookie); v["k"] != "v" {
		t.Errorf("the values are %v, want those from before the outage", v)
	}
}

func TestValuesWrittenDuringAnOutageReachRedis(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	keys := ringOf(t, "a")
	c := env.NewClock(start)
	one := join(t, server.Addr, c.Now, nil)
	first := newGateway(t, keys, one)
	cookie := first.login("42")
	server.Stop()
	one.wait(t, false)
	cookie = first.get("/signal", cookie, `set {"k":"during"}`).cookie
	late := first.login("44")
	server.Cont()
	one.wait(t, true)
	elsewhere := newGateway(t, keys, join(t, server.Addr, c.Now, nil))
	if v := elsewhere.values(cookie); v["k"] != "during" {
		t.Errorf("another gateway sees %v", v)
	}
	elsewhere.values(late) // fails if the record is unknown
}

// lossyStore loses calls as a slow network does.
type lossyStore struct {
	session.Store
	lose atomic.Bool
}

func (s *lossyStore) Revoke(ctx context.Context, r []session.Revocation) error {
	if s.lose.Load() {
		return context.DeadlineExceeded
	}
	return s.Store.Revoke(ctx, r)
}

func TestALostRevocationIsBroughtLater(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	lossy := &lossyStore{}
	one := join(t, server.Addr, time.Now, func(s session.Store) session.Store {
		lossy.Store = s
		return lossy
	})
	two := join(t, server.Addr, time.Now, nil)
	ctx, _ := requestContext()
	now := time.Now().Truncate(time.Millisecond)
	seal := session.Seal{ID: session.NewID(), Claims: session.Claims{
		Generation: 1, User: "42", Issued: now, Idle: now.Add(time.Hour), Absolute: now.Add(time.Hour),
	}}
	if err := one.Save(ctx, seal.ID.Key(), session.Record{Claims: seal.Claims}); err != nil {
		t.Fatal(err)
	}
	lossy.lose.Store(true)
	if err := one.Revoke(ctx, []session.Revocation{seal.Ref().Revocation()}); err != nil {
		t.Fatal(err)
	}
	if !one.health.Up() {
		t.Fatal("one timeout is no outage; this tests something else")
	}
	if _, err := two.Load(ctx, seal.Ref()); err != nil {
		t.Fatalf("elsewhere, before: %v", err)
	}
	lossy.lose.Store(false)
	env.Until(t, "the revocation elsewhere", func() bool {
		_, err := two.Load(ctx, seal.Ref())
		return errors.Is(err, session.ErrRevoked)
	})
}

func TestARevocationFoundRemotelyStandsLocally(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	one, two := join(t, server.Addr, time.Now, nil), join(t, server.Addr, time.Now, nil)
	ctx, ex := requestContext()
	now := time.Now().Truncate(time.Millisecond)
	seal := session.Seal{ID: session.NewID(), Claims: session.Claims{
		Generation: 1, User: "42", Issued: now, Idle: now.Add(time.Hour), Absolute: now.Add(time.Hour),
	}}
	if err := errors.Join(
		two.Save(ctx, seal.ID.Key(), session.Record{Claims: seal.Claims}),
		one.Revoke(ctx, []session.Revocation{session.RevokeUser("42", now, now.Add(time.Hour))}),
	); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Load(ctx, seal.Ref()); !errors.Is(err, session.ErrRevoked) || ex.Facts.Local {
		t.Fatalf("while up: %v, local %v", err, ex.Facts.Local)
	}
	server.Kill()
	if _, err := two.Load(ctx, seal.Ref()); !errors.Is(err, session.ErrRevoked) {
		t.Errorf("during the outage: %v, want ErrRevoked", err)
	}
}

func TestRejoinReplaysManyRevocationsInBatches(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	server.Stop() // so that it starts Down and stays so until all are there
	one := join(t, server.Addr, time.Now, nil)
	ctx, _ := requestContext()
	now := time.Now().Truncate(time.Millisecond)
	refs := make([]session.Ref, 1300)
	for i := range refs {
		refs[i] = session.Ref{Key: session.NewID().Key(), Issued: now, Absolute: now.Add(time.Hour)}
		if err := one.Revoke(ctx, []session.Revocation{refs[i].Revocation()}); err != nil {
			t.Fatal(err)
		}
	}
	server.Cont()
	one.wait(t, true)
	for i, ref := range refs {
		if _, err := one.remote.Load(ctx, ref); !errors.Is(err, session.ErrRevoked) {
			t.Fatalf("revocation %d of %d is not in Redis: %v", i, len(refs), err)
		}
	}
}

// diary is a Journal that keeps in memory, or fails.
type diary struct {
	kept  []session.Revocation
	known bool // of the last ones
	err   error
	told  []session.Revocation // the other gateways; read after Revoke
}

func (d *diary) Tell(_ context.Context, r []session.Revocation) { d.told = append(d.told, r...) }

func (d *diary) Keep(_ context.Context, r []session.Revocation, known bool) error {
	d.kept, d.known = append(d.kept, r...), known
	return d.err
}

func TestARevocationIsJournaledInEveryState(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	m := join(t, server.Addr, time.Now, nil)
	alone := memory.NewSessions(memory.SessionsConfig{})
	until := time.Now().Add(time.Hour)
	for _, c := range []struct {
		why    string
		err    error
		config session.FailoverConfig
		before func()
		note   string
	}{
		{why: "Redis is there", config: session.FailoverConfig{Switch: m.health, Remote: m.remote, Local: m.local}},
		{why: "there is no Redis", config: session.FailoverConfig{Local: alone}},
		{why: "the disk is full, and the logout is done all the same", err: errors.New("full"), config: session.FailoverConfig{Local: alone}, note: "revocation not durable: full"},
		{why: "Redis is away", config: session.FailoverConfig{Switch: m.health, Remote: m.remote, Local: m.local}, before: func() {
			server.Kill()
			m.wait(t, false)
		}},
	} {
		t.Run(c.why, func(t *testing.T) {
			if c.before != nil {
				c.before()
			}
			d := &diary{err: c.err}
			c.config.Journal = d
			f := session.NewFailover(c.config)
			ctx, ex := requestContext()
			want := session.RevokeUser("42", time.Now(), until)
			if err := f.Revoke(ctx, []session.Revocation{want}); err != nil || ex.Facts.Reason != c.note {
				t.Errorf("Revoke: %v, noted %q, want %q", err, ex.Facts.Reason, c.note)
			}
			if len(d.kept) != 1 || d.kept[0] != want || d.known || !slices.Equal(d.told, d.kept) {
				t.Errorf("journaled: %v, known %v, others told %v; want %v", d.kept, d.known, d.told, want)
			}
			if _, err := f.Load(ctx, session.Ref{Key: "k", User: "42", Issued: want.Issued, Absolute: until}); !errors.Is(err, session.ErrRevoked) {
				t.Errorf("afterwards: %v, want ErrRevoked", err)
			}
		})
	}
}

// meeting is a journal and a remote store that wait for each other.
type meeting struct {
	revoked
	diary
	peers, store chan struct{}
}

func (m *meeting) Tell(context.Context, []session.Revocation) {
	close(m.peers)
	<-m.store
}

func (m *meeting) Revoke(ctx context.Context, _ []session.Revocation) error {
	close(m.store)
	select {
	case <-m.peers:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A logout waits for the other gateways and the store in parallel.
func TestPeersAndTheStoreAreToldSideBySide(t *testing.T) {
	_, sw := (&flaky{}).member(t)
	m := &meeting{peers: make(chan struct{}), store: make(chan struct{})}
	f := session.NewFailover(session.FailoverConfig{Switch: sw, Remote: m, Local: memory.NewSessions(memory.SessionsConfig{}), Journal: m})
	running(t, sw)
	ctx, _ := requestContext()
	now := time.Now()
	if err := f.Revoke(ctx, []session.Revocation{session.RevokeUser("42", now, now.Add(time.Hour))}); err != nil || f.Pending() {
		t.Errorf("%v, pending %v", err, f.Pending())
	}
}
