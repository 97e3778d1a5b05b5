package session_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/test/env"
)

var errNotNow = errors.New("not now")

// flaky is a remote store without sessions whose Revoke behaves as the test says.
type flaky struct {
	session.Store // nil: other calls panic

	mu      sync.Mutex
	refuse  bool
	takes   time.Duration                 // each call
	during  func([]session.Revocation)    // called in each call; nil: nothing is
	brought map[string]session.Revocation // by subject
	calls   int
}

func (f *flaky) Load(context.Context, session.Ref) (session.Record, error) {
	return session.Record{}, session.ErrUnknown
}

func (f *flaky) Revoke(ctx context.Context, revocations []session.Revocation) error {
	f.mu.Lock()
	takes, during, refuse := f.takes, f.during, f.refuse
	f.calls++
	f.mu.Unlock()
	if during != nil {
		during(revocations)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(takes):
	}
	if refuse {
		return errNotNow
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.brought == nil {
		f.brought = map[string]session.Revocation{}
	}
	for _, r := range revocations { // of two for one subject the later times count
		had := f.brought[r.Subject]
		if had.Issued.After(r.Issued) {
			r.Issued = had.Issued
		}
		if had.Until.After(r.Until) {
			r.Until = had.Until
		}
		f.brought[r.Subject] = r
	}
	return nil
}

func (f *flaky) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *flaky) get(is func() bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return is()
}

// member is a gateway that uses it.
func (f *flaky) member(t *testing.T) (*session.Failover, *failover.Switch) {
	sw := failover.New(failover.Config{
		Probe:    func(context.Context) (failover.Epoch, error) { return failover.Epoch{}, nil },
		Classify: func(error) failover.Kind { return failover.Rejection },
		Budget:   time.Minute,
	})
	member := session.NewFailover(session.FailoverConfig{
		Switch: sw, Remote: f, Local: memory.NewSessions(memory.SessionsConfig{Revocations: 1 << 17}),
	})
	return member, sw
}

// running starts the Switch and ends it with the test.
func running(t *testing.T, sw *failover.Switch) {
	env.Run(t, sw.Run)
	<-sw.Probed()
}

func many(n int) []session.Revocation {
	all := make([]session.Revocation, n)
	now := time.Now()
	for i := range all {
		all[i] = session.Revocation{Subject: fmt.Sprint("s:", i), Issued: now, Until: now.Add(time.Hour)}
	}
	return all
}

// A rejoin succeeds even if replaying takes longer than one hook may.
func TestARejoinEndsHoweverMuchLives(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // see the tests of internal/failover
	synctest.Test(t, func(t *testing.T) {
		remote := &flaky{takes: time.Second}
		m, sw := remote.member(t)
		ctx, _ := requestContext()
		all := many(20 * 512)
		if err := m.Revoke(ctx, all); err != nil {
			t.Fatal(err)
		}
		running(t, sw)
		if !sw.Up() {
			t.Fatalf("not up: %v", sw.Status().Reason)
		}
		if len(remote.brought) != len(all) || remote.calls != 20 {
			t.Errorf("%d of %d brought in %d calls, want 20: each once", len(remote.brought), len(all), remote.calls)
		}
	})
}

// A store that hangs is not taken for a busy one.
func TestARejoinDoesNotWaitForAStoreThatHangs(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(t *testing.T) {
		remote := &flaky{takes: time.Hour}
		m, sw := remote.member(t)
		ctx, _ := requestContext()
		if err := m.Revoke(ctx, many(1)); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		running(t, sw)
		if took := time.Since(begin); sw.Up() || took > 6*time.Second || !errors.Is(sw.Status().Reason, context.DeadlineExceeded) {
			t.Errorf("up %v after %v: %v", sw.Up(), took, sw.Status().Reason)
		}
	})
}

// A replay takes no queue room from revocations made during the rejoin.
func TestALogoutDuringARejoinIsNotLost(t *testing.T) {
	remote := &flaky{}
	m, sw := remote.member(t)
	ctx, _ := requestContext()
	if err := m.Revoke(ctx, many(20_000)); err != nil { // more than are kept for the store
		t.Fatal(err)
	}
	late := session.RevokeUser("42", time.Now(), time.Now().Add(time.Hour))
	var once sync.Once
	remote.during = func([]session.Revocation) {
		once.Do(func() {
			if err := m.Revoke(ctx, []session.Revocation{late}); err != nil {
				t.Error(err)
			}
		})
	}
	running(t, sw)
	if got := remote.brought[late.Subject]; got != late {
		t.Errorf("brought %v, want %v", got, late)
	}
}

// A revocation that is retried must not displace another one of the same user, however many others
// are kept.
func TestAFailedRevocationDoesNotReplaceALaterOne(t *testing.T) {
	now := time.Now()
	early := session.Revocation{Subject: "u:42", Issued: now, Until: now.Add(2 * time.Hour)}
	late := session.Revocation{Subject: "u:42", Issued: now.Add(time.Minute), Until: now.Add(time.Hour)}
	want := session.Revocation{Subject: "u:42", Issued: late.Issued, Until: early.Until}
	for _, c := range []struct {
		name          string
		first, second session.Revocation
		others        int
	}{
		{"the later one second", early, late, 0},
		{"the later one first", late, early, 0},
		{"as many others as are kept", early, late, 1 << 14},
	} {
		t.Run(c.name, func(t *testing.T) {
			remote := &flaky{}
			m, sw := remote.member(t)
			running(t, sw)
			ctx, _ := requestContext()
			remote.set(func() { remote.refuse = true })
			_ = m.Revoke(ctx, []session.Revocation{c.first}) // fails, and is kept
			nested := false
			remote.set(func() {
				remote.during = func(r []session.Revocation) { // the first one is on its way again
					if nested {
						return
					}
					remote.set(func() { nested = true })
					_ = m.Revoke(ctx, []session.Revocation{c.second})
					_ = m.Revoke(ctx, many(c.others))
				}
			})
			env.Until(t, "the second one", func() bool { return remote.get(func() bool { return nested }) })
			remote.set(func() { remote.refuse = false })
			env.Until(t, "both in one", func() bool { return remote.get(func() bool { return remote.brought["u:42"] == want }) })
		})
	}
}

// A revocation from another gateway takes effect here and is sent to the store: the other gateway
// may be cut off from it.
func TestWhatAnotherGatewayTellsReachesTheStore(t *testing.T) {
	remote := &flaky{}
	m, sw := remote.member(t)
	running(t, sw)
	ctx, _ := requestContext()
	all := many(100)
	if err := m.Restore(ctx, all); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Load(ctx, session.Ref{Key: "7", Issued: all[7].Issued}); !errors.Is(err, session.ErrRevoked) {
		t.Errorf("here: %v, want ErrRevoked", err)
	}
	env.Until(t, "all of them", func() bool { return remote.get(func() bool { return len(remote.brought) == len(all) }) })
	if m.Pending() || remote.calls != 1 {
		t.Errorf("brought in %d calls, and pending %v", remote.calls, m.Pending())
	}
}

// More revocations than the queue holds are still all sent, without an outage.
func TestManyRevocationsAtOnceReachTheStore(t *testing.T) {
	remote := &flaky{}
	m, sw := remote.member(t)
	running(t, sw)
	ctx, _ := requestContext()
	all := many(20_000)
	if err := m.Restore(ctx, all); err != nil {
		t.Fatal(err)
	}
	env.Until(t, "all of them", func() bool { return remote.get(func() bool { return len(remote.brought) == len(all) }) })
}

// revoked is a remote store that has everything revoked.
type revoked struct{ session.Store }

func (revoked) Load(context.Context, session.Ref) (session.Record, error) {
	return session.Record{}, session.ErrRevoked
}

func (revoked) Save(context.Context, string, session.Record) error { return session.ErrRevoked }

// A revocation known only to the store would be lost with it and the process. So it is journaled,
// once; other gateways are not told.
func TestARevocationFoundRemotelyIsJournaled(t *testing.T) {
	now := time.Now()
	claims := session.Claims{Generation: 1, Issued: now, Idle: now.Add(time.Hour), Absolute: now.Add(time.Hour)}
	seal := session.Seal{ID: session.NewID(), Claims: claims}
	ctx, _ := requestContext()
	for name, find := range map[string]func(*session.Failover) error{
		"read":    func(f *session.Failover) error { _, err := f.Load(ctx, seal.Ref()); return err },
		"written": func(f *session.Failover) error { return f.Save(ctx, seal.ID.Key(), session.Record{Claims: claims}) },
	} {
		t.Run(name, func(t *testing.T) {
			_, sw := (&flaky{}).member(t)
			d := &diary{err: errNotNow} // this does not matter
			f := session.NewFailover(session.FailoverConfig{
				Switch: sw, Remote: revoked{}, Local: memory.NewSessions(memory.SessionsConfig{}), Journal: d,
			})
			running(t, sw)
			for range 2 {
				if err := find(f); !errors.Is(err, session.ErrRevoked) {
					t.Fatalf("%v, want ErrRevoked", err)
				}
			}
			if len(d.kept) != 1 || d.kept[0] != seal.Ref().Revocation() || !d.known || len(d.told) > 0 {
				t.Errorf("journaled %v, known %v", d.kept, d.known)
			}
		})
	}
}
