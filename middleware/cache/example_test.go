package cache_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/policy"
)

// A cache is on both sides of a proxy: Handler before it, Transport below.
func Example() {
	tags := cache.NewTags(cache.TagsConfig{})
	store := &cache.Tiers{Local: memory.NewCache(64<<20, time.Now), Tags: tags, Now: time.Now}
	c := cache.New(cache.Config{Store: store, Tags: tags})
	defer c.Close()

	below := c.Transport(answering("Content-Type", "text/plain")) // in a gateway, an http.Transport
	proxy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { forward(w, r, below) })
	handler := c.Handler(proxy)

	snapshot, err := policy.Parse("gateway.yaml", []byte(testPolicy), func(string) string { return "" })
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		r := httptest.NewRequest(http.MethodGet, "/list?page=1", nil)
		ex := &exchange.Exchange{Snapshot: snapshot, View: policy.View{
			Method: r.Method, Host: "api.test", Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header, Now: time.Now(),
		}}
		ex.Route, ex.Params = snapshot.Match(&ex.View)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(exchange.With(r.Context(), ex)))
		fmt.Println(ex.Facts.Cache)
	}
	// Output:
	// miss
	// hit
}
