package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const reachPolicy = `
version: 1
server: {data_dir: ./data%[1]s}
upstreams:
  app: {targets: [%[2]q]}
  self: {targets: [%[3]q]}
routes:
  - {name: mistake, match: {path: "/v1/{rest...}"}, upstream: self}
  - {name: profiles, match: {path: "/debug/{rest...}"}, upstream: self}
  - {name: rest, match: {path: "/{rest...}"}, upstream: app}
`

// Who is not on this machine, or has not the token, does not get to the admin API: not even where the
// policy forwards to it by mistake, and not through an operator's browser.
func TestTheAdminAPIIsOutOfReach(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "app") }))
	t.Cleanup(upstream.Close)
	for _, config := range []string{"", ", admin_token_file: ./data/admin.token"} {
		here, there := policyFolder(t)
		file := filepath.Join(here, "gateway.yaml")
		writePolicy(t, file, fmt.Sprintf(reachPolicy, config, upstream.URL, upstream.URL))
		own(t, here)
		g := start(t, nil, "run", "--config", filepath.Join(there, "gateway.yaml"))
		admin := strings.TrimPrefix(g.admin, "http://")
		token, err := os.ReadFile(filepath.Join(here, "data", "admin.token"))
		if err != nil {
			t.Fatal(err)
		}
		secret := strings.TrimSpace(string(token))
		bearer := []string{"Authorization", "Bearer " + secret}
		writePolicy(t, file, fmt.Sprintf(reachPolicy, config, upstream.URL, g.admin))
		if r := g.do("POST", g.admin+"/v1/reload", "", bearer...); r.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", r.Status, r.body)
		}
		read := 200
		if config != "" {
			read = 401
		}
		for _, tc := range []struct {
			says        string
			method, url string
			host        string
			header      []string
			status      int
		}{
			{says: "an operator on this machine", method: "GET", url: g.admin + "/v1/config", status: read},
			{says: "and by name", method: "GET", url: g.admin + "/v1/config", host: "localhost:9901", status: read},
			{says: "with the token", method: "GET", url: g.admin + "/v1/config", header: bearer, status: 200},
			{says: "a change with the token", method: "POST", url: g.admin + "/v1/reload", header: bearer, status: 200},
			{says: "a client", method: "GET", url: g.base + "/v2/config", status: 200},
			{says: "a client of a policy that forwards to the admin listener", method: "GET", url: g.base + "/v1/config", status: 401},
			{says: "that names the admin listener", method: "GET", url: g.base + "/v1/config", host: admin, status: 401},
			{says: "that says it is a proxy itself", method: "GET", url: g.base + "/v1/config", header: []string{"X-Forwarded-For", "127.0.0.1", "Connection", "X-Forwarded-For"}, status: 401},
			{says: "and wants a change", method: "POST", url: g.base + "/v1/reload", status: 401},
			{says: "or profiles", method: "GET", url: g.base + "/debug/pprof/", status: 401},
			{says: "a local proxy without the token", method: "GET", url: g.admin + "/v1/config", header: []string{"X-Forwarded-For", "203.0.113.7"}, status: 401},
			{says: "a page whose name was rebound", method: "GET", url: g.admin + "/v1/config", host: "evil.example", status: 421},
			{says: "with the port", method: "GET", url: g.admin + "/v1/config", host: "evil.example:9901", status: 421},
			{says: "for a change", method: "POST", url: g.admin + "/v1/reload", host: "evil.example", header: bearer, status: 421},
			{says: "a page of another site that fetches", method: "GET", url: g.admin + "/v1/config", header: []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, status: 403},
			{says: "one on another port of this machine", method: "GET", url: g.admin + "/v1/redis", header: []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Origin", "http://127.0.0.1:3000"}, status: 403},
			{says: "in an older browser", method: "GET", url: g.admin + "/v1/config", header: []string{"Origin", "https://evil.example"}, status: 403},
			{says: "with a frame", method: "GET", url: g.admin + "/v1/config", header: []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, status: 403},
			{says: "with a form", method: "POST", url: g.admin + "/v1/reload", header: []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, status: 403},
			{says: "with the token", method: "POST", url: g.admin + "/v1/reload", header: append([]string{"Origin", "https://evil.example"}, bearer...), status: 403},
			{says: "a link on another site", method: "GET", url: g.admin + "/v1/config", header: []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, status: read},
			{says: "a token in the URL", method: "POST", url: g.admin + "/v1/reload?token=" + secret + "&access_token=" + secret, status: 401},
			{says: "as a user of the URL", method: "POST", url: strings.Replace(g.admin, "//", "//"+secret+":"+secret+"@", 1) + "/v1/reload", status: 401},
		} {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, tc.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = tc.host
			for i := 0; i < len(tc.header); i += 2 {
				req.Header.Set(tc.header[i], tc.header[i+1])
			}
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != tc.status {
				t.Errorf("%q %s: %s, want %d", config, tc.says, res.Status, tc.status)
			}
		}
		g.stderr.await(t, `"call":"POST /v1/reload","what":"","from":"127.0.0.1:`)
		g.stderr.await(t, `"status":403`)
		g.stderr.await(t, `"status":421`)
	}
}
