package memory_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/test/storetest"
)

func TestCache(t *testing.T) {
	storetest.Cache(t, func(_ *testing.T, now func() time.Time) cache.Store {
		return memory.NewCache(16<<20, now)
	})
}

func textEntry(size int) *cache.Entry {
	return &cache.Entry{
		Status: 200, Header: http.Header{"Content-Type": {"text/plain"}},
		Body: make([]byte, size), Received: time.Now(), Keep: time.Hour,
	}
}

func TestCacheHoldsItsBound(t *testing.T) {
	const bound = 1 << 20
	c := memory.NewCache(bound, time.Now)
	for i := range 2000 {
		if err := c.Put(context.Background(), fmt.Sprint(i), textEntry(10_000)); err != nil {
			t.Fatal(err)
		}
		if c.Bytes() > bound {
			t.Fatalf("%d bytes after %d entries, more than %d", c.Bytes(), i+1, bound)
		}
	}
	held := 0
	for i := range 2000 { // count what Get returns, not what the store reports
		if f, _ := c.Get(context.Background(), fmt.Sprint(i), nil); f.Entry != nil {
			held++
		}
	}
	if held == 0 || held*10_000 > bound {
		t.Errorf("%d entries of 10 kB are held in %d bytes", held, bound)
	}
}

func TestCacheDropsWhatIsLargerThanItself(t *testing.T) {
	c := memory.NewCache(64<<10, time.Now)
	if err := c.Put(context.Background(), "k", textEntry(100<<10)); err != nil {
		t.Fatal(err)
	}
	if f, _ := c.Get(context.Background(), "k", nil); f.Entry != nil {
		t.Error("it is held")
	}
}

func TestCacheBoundsTheVariantsOfAKey(t *testing.T) {
	c := memory.NewCache(64<<20, time.Now)
	for i := range 1000 {
		e := textEntry(10)
		e.Vary, e.Selecting = []string{"User-Agent"}, []string{fmt.Sprint(i)}
		if err := c.Put(context.Background(), "k", e); err != nil {
			t.Fatal(err)
		}
	}
	held := 0
	for i := range 1000 {
		if f, _ := c.Get(context.Background(), "k", http.Header{"User-Agent": {fmt.Sprint(i)}}); f.Entry != nil {
			held++
		}
	}
	if held == 0 || held > 100 {
		t.Errorf("%d variants of one key are held", held)
	}
	if f, _ := c.Get(context.Background(), "k", http.Header{"User-Agent": {"999"}}); f.Entry == nil {
		t.Error("the newest variant was dropped")
	}
}
