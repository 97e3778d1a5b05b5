package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// The key has the host in lower case, and the upstream gets it as the client wrote
// it: one who writes it in capitals chooses what all others get, such as a 404 for
// a host that the upstream compares byte by byte, or links and redirects.
func TestTheCaseOfAHostDoesNotPoisonTheCache(t *testing.T) {
	t.Parallel()
	g, _ := startSmall(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "host "+r.Host+", forwarded "+r.Header.Get("X-Forwarded-Host"))
	}), keyedPolicy)
	get := func(host string) (body, status string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.base+"/page/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text), res.Header.Get("Cache-Status")
	}
	get("SHOP.test")
	if body, status := get("shop.test"); strings.Contains(body, "SHOP") {
		t.Errorf("the next client gets %q with Cache-Status %q", body, status)
	}
}
