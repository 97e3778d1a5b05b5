package session_test

import (
	"testing"
	"time"

	"github.com/jewgo/gateway/middleware/session"
)

// While Redis is away a page asks two gateways at once. One of them hears a new cookie
// from the upstream, the other one a value. The browser has the seal with
// the new cookie, whose jar is later than the one that the other gateway has.
func TestANewerCookieInTheSealBeatsARecordOfTheSameGeneration(t *testing.T) {
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
	if second.get("/signal", cookie, `set {"a":"1"}`).set == nil {
		t.Fatal("the value was not written")
	}
	first.clock.Advance(time.Second)
	cookie, _ = first.give("/optional", cookie, "session=new; HttpOnly; Path=/") // the browser has this one
	second.upstreamGets("by the other gateway", "/optional", cookie, "session=new")
}
