package session_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestKeptCookiesDoNotComeInTrailers(t *testing.T) {
	for what, name := range map[string]string{"announced": "Set-Cookie", "out of the blue": http.TrailerPrefix + "Set-Cookie"} {
		for _, path := range []string{"/optional", "/off"} {
			g := newOffload(t, nil)
			g.setUpstream(func(w http.ResponseWriter, _ *http.Request) {
				if what == "announced" {
					w.Header().Set("Trailer", "Set-Cookie")
				}
				_, _ = io.WriteString(w, "data")
				_ = http.NewResponseController(w).Flush()
				w.Header().Set(name, "session=secret; HttpOnly")
			})
			resp, err := http.Get(g.server.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if strings.Contains(fmt.Sprint(resp.Header, resp.Trailer), "secret") {
				t.Errorf("%s, on %s: %v, %v", what, path, resp.Header, resp.Trailer)
			}
		}
	}
}
