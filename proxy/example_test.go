package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/proxy"
)

func Example() {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s by way of %s", r.URL, r.Header.Get("Via"))
	}))
	defer backend.Close()

	snapshot := &policy.Snapshot{Policy: &policy.Policy{
		Upstreams: map[string]policy.Upstream{"app": {Targets: []string{backend.URL}}},
	}}
	pools := proxy.NewPools(proxy.PoolsConfig{})
	defer pools.Close()
	commit, err := pools.Prepare(snapshot)
	if err != nil {
		fmt.Println(err)
		return
	}
	commit()

	forward := proxy.New(proxy.Config{Transport: pools})
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := &exchange.Exchange{
			View:     policy.View{Authority: r.Host, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery},
			Snapshot: snapshot,
			Route:    &policy.Route{Upstream: "app"},
		}
		forward.ServeHTTP(w, r.WithContext(exchange.With(r.Context(), ex)))
	}))
	defer edge.Close()

	resp, err := http.Get(edge.URL + "/restaurants?page=2")
	if err != nil {
		fmt.Println(err)
		return
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	fmt.Println(string(body), err)
	// Output: /restaurants?page=2 by way of 1.1 edge <nil>
}
