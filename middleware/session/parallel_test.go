package session_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jewgo/gateway/middleware/session"
)

// farStore is as far away as Redis.
type farStore struct{ session.Store }

func (s farStore) Load(ctx context.Context, ref session.Ref) (session.Record, error) {
	time.Sleep(time.Millisecond)
	return s.Store.Load(ctx, ref)
}

func (s farStore) Save(ctx context.Context, key string, rec session.Record) error {
	time.Sleep(time.Millisecond)
	return s.Store.Save(ctx, key, rec)
}

// A dozen parallel requests of one page lose no write.
func TestADozenParallelWritesLoseNothing(t *testing.T) {
	const n = 12
	// together sends all responses at once.
	together := func(g *gateway, answer func(w http.ResponseWriter, i string)) {
		var all sync.WaitGroup
		all.Add(n)
		g.setUpstream(func(w http.ResponseWriter, r *http.Request) {
			answer(w, r.URL.Query().Get("say"))
			all.Done()
			all.Wait()
			_, _ = io.WriteString(w, "done")
		})
	}
	t.Run("values", func(t *testing.T) {
		g := newGateway(t, ringOf(t, "a"), nil)
		cookie := g.login("42")
		g.store.Store = farStore{g.store.Store}
		together(g, func(w http.ResponseWriter, i string) { w.Header().Set("X-Gw-Session", `set {"k`+i+`":"1"}`) })
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { g.get("/signal", cookie, fmt.Sprint(i)) })
		}
		wg.Wait()
		if v := g.values(cookie); len(v) != n {
			t.Errorf("%d of %d values: %v", len(v), n, v)
		}
	})
	t.Run("cookies", func(t *testing.T) {
		g := newOffload(t, nil)
		g.settings.Offload = nil
		for i := range n {
			g.settings.Offload = append(g.settings.Offload, fmt.Sprintf("c%d", i))
		}
		cookie := g.login("42")
		g.store.Store = farStore{g.store.Store}
		together(g, func(w http.ResponseWriter, i string) { w.Header().Set("Set-Cookie", "c"+i+"=1; HttpOnly; Path=/") })
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { g.get("/optional", cookie, fmt.Sprint(i)) })
		}
		wg.Wait()
		g.answer()
		if got := strings.Count(g.get("/optional", cookie).body, "=1"); got != n {
			t.Errorf("%d of %d cookies", got, n)
		}
	})
}
