package middleware_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/test/env"
)

const loggingPolicy = `
version: 1
log:
  access: sampled
  sample: {2xx: 10%, 204: 100%, 4xx: 0%}
  headers: [Referer, Authorization, X-Tenant]
server: {timing: asked, trace: {make: true, sampled: 50%}, trusted_proxies: [127.0.0.1]}
upstreams:
  app: {targets: ["http://127.0.0.1:1"]}
routes:
  - {name: all, match: {path: "/all/{status}"}, upstream: app, log: {access: on}}
  - {name: none, match: {path: "/none/{status}"}, upstream: app, log: {access: off}}
  - {name: own, match: {path: "/own/{status}"}, upstream: app, log: {access: sampled, sample: {2xx: 50%}}}
  - {name: rest, match: {path: "/{status}"}, upstream: app}
`

func answersWithStatus(w http.ResponseWriter, r *http.Request) {
	status, _ := strconv.Atoi(exchange.From(r.Context()).Params.Get("status"))
	w.WriteHeader(status)
}

// get asks for a path with the header fields given as names and values in turn.
func (e *edge) get(t *testing.T, path string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res
}

func TestSampledLog(t *testing.T) {
	e := newEdge(t, loggingPolicy, answersWithStatus)
	for _, tc := range []struct {
		path        string
		least, most int // of 200 requests; a tenth is 20, with a standard deviation of 4
	}{
		{"/200", 3, 50},
		{"/204", 200, 200},
		{"/404", 0, 0},
		{"/302", 200, 200},
		{"/502", 200, 200},
		{"/no/route", 0, 0},
		{"/all/200", 200, 200},
		{"/none/502", 0, 0},
		{"/own/200", 60, 140},
		{"/own/404", 200, 200},
	} {
		for i := range 200 {
			e.get(t, tc.path, "X-Request-Id", fmt.Sprintf("%s-%d", strings.ReplaceAll(tc.path[1:], "/", "-"), i))
		}
		e.get(t, "/all/299?after="+tc.path) // whose line comes after the others: the connection is the same
		env.Until(t, "the last line", func() bool { return strings.Contains(e.log.String(), "after="+tc.path+`"`) })
		if n := strings.Count(e.log.String(), `"uri":"`+tc.path+`"`); n < tc.least || n > tc.most {
			t.Errorf("%s: %d of 200 lines, want %d to %d", tc.path, n, tc.least, tc.most)
		}
	}
}

// Secrets in a URL are hidden wherever backends and frameworks put them, and nothing else is.
func TestSecretsInURLs(t *testing.T) {
	e := newEdge(t, loggingPolicy, answersWithStatus)
	for _, tc := range []struct{ sent, want string }{
		{"/204?Token=S&q=a&%61ccess_token=S&code&key=&nest=b", "/204?Token=R&q=a&%61ccess_token=R&code&key=R&nest=b"},
		{"/204?next=%2Flogin%3Ftoken%3DS%26page%3D2&q=a", "/204?next=%2Flogin%3Ftoken%3DR%26page%3D2&q=a"},
		{"/204?user%5Bpassword%5D=S&password[]=S&tokens=2", "/204?user%5Bpassword%5D=R&password[]=R&tokens=2"},
		{"/204?u=http://user:S@host/a&v=http%3A%2F%2Fuser%3AS%40host%2Fa", "/204?u=http://R@host/a&v=http%3A%2F%2FR%40host%2Fa"},
		{"/a;token=S/b?x=1", "/a;token=R?x=1"},
		{"/204?mail=a@example.org&q=50%25", "/204?mail=a@example.org&q=50%25"},
		{"/#token=S", "/#token=R"},
	} {
		e.get(t, tc.sent)
		e.get(t, "/204", "Referer", "https://jewgo.app"+tc.sent)
		want := strings.ReplaceAll(tc.want, "R", "REDACTED")
		env.Until(t, "the lines of "+tc.sent, func() bool {
			return strings.Contains(e.log.String(), `"Referer":"https://jewgo.app`+want+`"`)
		})
	}
	if strings.Contains(e.log.String(), "=S") || strings.Contains(e.log.String(), "%3DS") || strings.Contains(e.log.String(), ":S") || strings.Contains(e.log.String(), "%3AS") {
		t.Errorf("a secret is in\n%s", e.log.String())
	}
}

func TestLogHidesWhatMayBeSecret(t *testing.T) {
	e := newEdge(t, loggingPolicy, answersWithStatus)
	e.get(t, "/204?Token=x&q=a&%61ccess_token=y&code&key=&nest=token=z", "Authorization", "Bearer secret", "X-Tenant", "acme",
		"Referer", "https://user:word@jewgo.app/login?password=p#top")
	line := e.lines(t, 1)[0]
	if got, want := line["uri"], "/204?Token=REDACTED&q=a&%61ccess_token=REDACTED&code&key=REDACTED&nest=token=z"; got != want {
		t.Errorf("uri %q, want %q", got, want)
	}
	want := map[string]any{"Referer": "https://REDACTED@jewgo.app/login?password=REDACTED#top", "Authorization": "REDACTED", "X-Tenant": "acme"}
	if got := line["headers"]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("headers %v, want %v", got, want)
	}
}

func TestCombinedLog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(middleware.NewCombinedLog(&out))
	headers := []slog.Attr{slog.String("Referer", "https://jewgo.app/")} //nolint:sloglint // as the access log has it
	log.Info("request", "client", "192.0.2.7", "method", "GET", "uri", `/a"b\`+"\n\x7fé", "proto", "HTTP/1.1", "status", 200, "bytes_out", int64(42),
		"user_agent", "curl/8", "headers", slog.GroupValue(headers...))
	log.Info("request", "client", "192.0.2.7", "method", "GET", "uri", "/", "proto", "HTTP/2.0", "status", 304, "bytes_out", int64(0))
	want := regexp.MustCompile(`^192\.0\.2\.7 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /a\\"b\\\\\\x0a\\x7f\\xc3\\xa9 HTTP/1\.1" 200 42 "https://jewgo\.app/" "curl/8"
192\.0\.2\.7 - - \[[^]]+\] "GET / HTTP/2\.0" 304 0 "-" "-"
$`)
	if !want.MatchString(out.String()) {
		t.Errorf("got\n%s", out.String())
	}
}

func TestTraces(t *testing.T) {
	e := newEdge(t, loggingPolicy, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Trace", exchange.From(r.Context()).Traceparent)
		w.Header().Set("X-State", r.Header.Get("Tracestate"))
		w.WriteHeader(http.StatusNoContent)
	})
	const id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for _, tc := range []struct {
		sentence, sent string
		kept           bool
	}{
		{"a request's own trace goes on", "00-" + id + "-" + parent + "-01", true},
		{"a later version may have more, which ends here", "cc-" + id + "-" + parent + `-01-"><script>`, true},
		{"without one there is a new one", "", false},
		{"version 00 has no more", "00-" + id + "-" + parent + "-01-what", false},
		{"ff is no version", "ff-" + id + "-" + parent + "-01", false},
		{"upper case is malformed", "00-" + strings.ToUpper(id) + "-" + parent + "-01", false},
		{"the trace must not be zero", "00-" + strings.Repeat("0", 32) + "-" + parent + "-01", false},
		{"nor the parent", "00-" + id + "-" + strings.Repeat("0", 16) + "-01", false},
		{"fields have their lengths", "00-" + id + "0-" + parent[1:] + "-01", false},
		{"free text is no trace", "evil", false},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			header := e.get(t, "/204?"+strings.Fields(tc.sentence)[0], "Traceparent", tc.sent, "Tracestate", "a=1").Header
			got := header.Get("X-Trace")
			if (got == "00-"+id+"-"+parent+"-01") != tc.kept || (header.Get("X-State") == "a=1") != tc.kept {
				t.Errorf("sent %q, got %q with the state %q", tc.sent, got, header.Get("X-State"))
			}
			if !regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$`).MatchString(got) {
				t.Errorf("malformed: %q", got)
			}
		})
	}
	if first := e.lines(t, 10)[0]; first["trace_id"] != id {
		t.Errorf("the log has %v", first["trace_id"])
	}
	sampled := 0
	for range 200 {
		if strings.HasSuffix(e.get(t, "/204").Header.Get("X-Trace"), "-01") {
			sampled++
		}
	}
	if sampled < 50 || sampled > 150 {
		t.Errorf("%d of 200 new traces are sampled, about 100 expected", sampled)
	}
}

// Server-Timing stays behind what the upstream itself says.
func TestServerTiming(t *testing.T) {
	const own, gateway = "db;dur=3", `total;dur=[0-9.]+, upstream;dur=12\.5, redis;dur=2, cache;desc=miss`
	for mode, want := range map[string][2]string{ // where it is asked for, and where not
		"off":   {own, own},
		"asked": {own + "; " + gateway, own},
		"on":    {own + "; " + gateway, own + "; " + gateway},
	} {
		e := newEdge(t, strings.Replace(loggingPolicy, "asked", mode, 1), func(w http.ResponseWriter, r *http.Request) {
			f := &exchange.From(r.Context()).Facts
			f.Target, f.Cache, f.UpstreamTime = "127.0.0.1:1", "miss", 12500*time.Microsecond
			budget, _ := r.Context().Value(failover.BudgetKey{}).(*failover.Budget)
			budget.Spend(2 * time.Millisecond)
			w.Header().Set("Server-Timing", own)
			w.WriteHeader(http.StatusNoContent)
		})
		for i, res := range []*http.Response{e.get(t, "/204", "Server-Timing", "1"), e.get(t, "/204")} {
			if got := strings.Join(res.Header["Server-Timing"], "; "); !regexp.MustCompile("^" + want[i] + "$").MatchString(got) {
				t.Errorf("%s, request %d: %q", mode, i, got)
			}
		}
	}
}
