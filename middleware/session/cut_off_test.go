package session_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/session"
)

// island is a gateway that is cut off from the store until it joins.
type island struct {
	*session.Failover
	local *memory.Sessions
	sw    *failover.Switch
}

func newIsland(remote session.Store, now func() time.Time) *island {
	i := &island{
		local: memory.NewSessions(memory.SessionsConfig{Now: now}),
		sw: failover.New(failover.Config{
			Probe:    func(context.Context) (failover.Epoch, error) { return failover.Epoch{}, nil },
			Classify: func(error) failover.Kind { return failover.Rejection },
			Budget:   time.Minute,
		}),
	}
	i.Failover = session.NewFailover(session.FailoverConfig{Switch: i.sw, Remote: remote, Local: i.local})
	return i
}

// forked is a record of the second generation of a session.
func forked(value string, idle, cookie time.Duration) session.Record {
	now := start.Truncate(time.Millisecond)
	r := session.Record{
		Claims: session.Claims{Generation: 2, User: "42", Issued: now, Idle: now.Add(idle), Absolute: now.Add(24 * time.Hour)},
		Values: map[string]string{"k": value},
	}
	if cookie > 0 {
		r.Jar = session.Jar{Changed: now.Add(cookie), Cookies: []session.Cookie{{Name: "session", Value: value, Path: "/"}}}
	}
	return r
}

// Two gateways that are cut off from each other write to one session. Once both have the store again
// they agree, whichever returns first, and the next outage does not change that.
func TestGatewaysThatWereCutOffAgreeAfterwards(t *testing.T) {
	const hour, ms = time.Hour, time.Millisecond
	for _, tt := range []struct {
		says     string
		one, two session.Record
		want     string // the value that stays; "": either
	}{
		{says: "values on both", one: forked("1", hour, 0), two: forked("2", hour, 0)},
		{says: "the later cookie", one: forked("1", hour, 2*ms), two: forked("2", 2*hour, ms), want: "1"},
		{says: "the only cookie", one: forked("1", 2*hour, 0), two: forked("2", hour, ms), want: "2"},
		{says: "the later deadline", one: forked("1", 2*hour, ms), two: forked("2", hour, ms), want: "1"},
		{says: "the same on both", one: forked("1", hour, ms), two: forked("1", hour, ms), want: "1"},
	} {
		t.Run(tt.says, func(t *testing.T) {
			for _, order := range []string{"one first", "two first", "two was never cut off", "one does not know that it was"} {
				atOnce, all := rejoin(t, order, tt.one, tt.two)
				if len(slices.Compact(slices.Clone(all))) != 1 {
					t.Fatalf("%s: one, two, the memory of each and the store have %q", order, all)
				}
				if tt.want == "" {
					tt.want = atOnce // and so in every order
				}
				if value := strings.Fields(all[0])[0]; atOnce != tt.want || value != tt.want {
					t.Errorf("%s: at first %q stays, then %q, want %q", order, atOnce, value, tt.want)
				}
			}
		})
	}
}

// rejoin makes two gateways write these records and use the store again in some order. It returns
// the value that one of them reads first, and all values at the end.
func rejoin(t *testing.T, order string, a, b session.Record) (atOnce string, all []string) {
	now := func() time.Time { return start }
	remote := memory.NewSessions(memory.SessionsConfig{Now: now})
	one, two := newIsland(remote, now), newIsland(remote, now)
	ctx, _ := requestContext()
	ref := session.Ref{Key: session.NewID().Key(), User: a.User, Issued: a.Issued, Absolute: a.Absolute}
	save := func(s session.Store, r session.Record) {
		t.Helper()
		if err := s.Save(ctx, ref.Key, r); err != nil {
			t.Fatal(err)
		}
	}
	load := func(s session.Store) session.Record {
		t.Helper()
		r, err := s.Load(ctx, ref)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	begun := a
	begun.Generation, begun.Values, begun.Jar = 1, nil, session.Jar{}
	save(remote, begun)
	switch order {
	case "one first", "two first":
		save(one, a)
		save(two, b)
	case "two was never cut off":
		save(one, a)
		running(t, two.sw)
		save(two, b)
	default: // the store lost it, and continues from the previous record
		save(one.local, a)
		running(t, two.sw)
		save(two, b)
	}
	if order == "one first" {
		running(t, one.sw)
		running(t, two.sw)
	} else {
		if !two.sw.Up() {
			running(t, two.sw)
		}
		running(t, one.sw)
	}
	atOnce = load(one).Values["k"]
	for range 40 { // the rest is sent while Up
		all = nil
		for _, s := range []session.Store{one, two, one.local, two.local, remote} {
			r := load(s)
			all = append(all, fmt.Sprint(r.Values["k"], " in generation ", r.Generation, " with ", len(r.Jar.Cookies), " cookies until ", r.Idle.Sub(start)))
		}
		if len(slices.Compact(slices.Clone(all))) == 1 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return atOnce, all
}

// While Redis is down a page asks two gateways at once. One gets a new cookie from the upstream, the
// other some values. The browser's seal has the new cookie, so its jar is later than the other gateway's,
// however often that has written.
func TestANewerCookieInTheSealBeatsTheRecordOfAnotherGateway(t *testing.T) {
	for _, values := range []int{0, 1, 2} {
		t.Run(fmt.Sprint(values), func(t *testing.T) { newerCookieInTheSeal(t, values) })
	}
}

func newerCookieInTheSeal(t *testing.T, values int) {
	first, second := newOffload(t, nil), newOffload(t, nil)
	second.clock = first.clock
	cookie, _ := first.give("/optional", "", "session=old; HttpOnly; Path=/")
	seal, err := session.NewSealer(ringOf(t, "a")).Open(cookieName, host, cookie, first.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	rec, err := first.store.Load(t.Context(), seal.Ref())
	if err != nil {
		t.Fatal(err)
	}
	if err := second.store.Save(t.Context(), seal.ID.Key(), rec); err != nil { // both know it
		t.Fatal(err)
	}
	for i := range values {
		if second.get("/signal", cookie, fmt.Sprintf(`set {"a":"%d"}`, i)).set == nil {
			t.Fatal("the value was not written")
		}
	}
	first.clock.Advance(time.Second)
	cookie, _ = first.give("/optional", cookie, "session=new; HttpOnly; Path=/") // the browser has this one
	second.upstreamGets("by the other gateway", "/optional", cookie, "session=new")
}
