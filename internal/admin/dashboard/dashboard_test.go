package dashboard_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jewgo/gateway/internal/admin/dashboard"
)

const nasty = `<script>alert("1")</script>`

// answers are those of an API whose every text is nasty.
var answers = map[string]string{
	"GET /v1/status": `{"version":"v1","state":"degraded","at":"2026-03-01T09:12:44Z","policy":{"refused":"NASTY"},
		"parts":[{"name":"NASTY","state":"degraded","detail":"NASTY","warnings":["NASTY"]}],
		"redis":[{"name":"redis","state":"down","since":"2026-03-01T09:12:44Z","reason":"NASTY","serves":["NASTY"],"backlogs":[{"name":"sessions","items":3},{"name":"limits","items":0}],
			"history":[{"at":"2026-03-01T09:00:00Z","to":"up"},{"at":"2026-03-01T09:12:44Z","to":"down","reason":"NASTY"}]}],
		"recent":{"seconds":60,"requests":{"count":100,"rate":1.7,"p50":0.0004,"p99":0.25},"failed":1,"limited":2,"cached":50,"hits":40},
		"upstreams":{"NASTY":{"healthy":0,"targets":2,"checked":true,"in_flight":3,"failed":1,"count":9,"rate":12.3,"p50":0.1,"p99":12}},
		"limited":[{"limit":"logins","key":"NASTY","total":9,"denied":4}],"in_flight":7,"journal_pending":0}`,
	"GET /v1/history": `{"moments":[{"at":"2026-03-01T09:00:05Z","seconds":5,"requests":{"count":0,"rate":0}},
		{"at":"2026-03-01T09:00:10Z","seconds":5,"requests":{"count":50,"rate":10,"p50":0.001,"p99":0.002},"failed":5,"limited":10,"cached":10,"hits":5}]}`,
	"GET /v1/routes": `{"seconds":60,"routes":[{"name":"NASTY","session":"optional","at":"gateway.yaml:7:5","match":"GET /a/{id}","cache":true,"limits":["clients"],
		"requests":{"count":1,"rate":0.1,"p50":0.001,"p99":0.001},"cached":4,"hits":1,"limited":0,"failed":0}]}`,
	"GET /v1/cache": `{"memory":{"bytes":2048,"entries":3},"memory_bound":1048576,"routes":[{"route":"NASTY","minute":{"requests":4,"hits":0.5},"hour":{"requests":0},"day":{"requests":4,"hits":0.5}}],
		"hottest":[{"url":"http://h/NASTY","hits":3,"recent":1,"bytes":1000}],"largest":[]}`,
	"GET /v1/cache/entries": `{"entries":[{"url":"http://h/NASTY","status":200,"age":3,"fresh":57,"bytes":1000,"tiers":["l1"],"tags":["NASTY"],"vary":["NASTY"],"hits":1,"recent":1}]}`,
	"GET /v1/limits":        `{"limits":[{"name":"logins","key":["client_ip"],"rate":"10/h","burst":3},{"name":"pairs","key":["client_ip","path:id"],"rate":"1/s","burst":1}],"replicas":2,"buckets":9,"evicted":0,"hottest":[{"limit":"logins","key":"NASTY","total":9,"denied":4}]}`,
	"GET /v1/limits/logins": `{"limit":"logins","bucket":"NASTY","redis":{"remaining":2,"whole_in":30},"here":{"own":3,"owed":0,"leased":4}}`,
	"GET /v1/sessions":      `{"sessions":[{"id":"0123456789abcdef0123456789abcdef","roles":["NASTY"],"issued":"2026-03-01T09:12:44Z","values":["NASTY"]}],"error":"NASTY"}`,
	"GET /v1/config":        `{"file":"NASTY","digest":"0123456789ab","since":"2026-03-01T09:12:44Z","routes":7,"limits":2,"before":"ba9876543210","changes":[{"key":"limits.NASTY","old":"NASTY","new":"2/s"}],"refused":"NASTY","refused_at":"2026-03-01T10:00:00Z"}`,
	"GET /v1/purges/p1":     `{"id":"p1","applied":false,"reached":1,"gateways":2,"waits":"NASTY"}`,
	"POST /v1/purges":       `{"id":"p1","applied":true}`,
}

// rig is the dashboard in front of an API, whose calls it notes.
type rig struct {
	http.Handler
	calls  []string
	fail   int    // the status of every answer; 0: as it is
	status string // in place of the answer to /v1/status; "": that one
}

func start() *rig {
	r := &rig{}
	api := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.calls = append(r.calls, req.Method+" "+req.URL.String()+" "+string(body))
		text, ok := answers[req.Method+" "+req.URL.Path]
		switch {
		case r.status != "" && req.URL.Path == "/v1/status":
			_, _ = io.WriteString(w, r.status)
		case r.fail != 0:
			w.WriteHeader(r.fail)
			_, _ = io.WriteString(w, `{"detail":"because of `+`\u003cscript>`+`"}`)
		case req.URL.Path == "/v1/explain":
			_, _ = io.WriteString(w, "answer  "+nasty)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = io.WriteString(w, strings.ReplaceAll(text, "NASTY", strings.ReplaceAll(nasty, `"`, `\"`)))
		}
	})
	mux, routed := http.NewServeMux(), http.NewServeMux() // which redirects from ..
	routed.Handle("/", api)
	for _, p := range dashboard.Pages(routed) {
		mux.HandleFunc(p.Method+" "+p.Path, p.Serve)
	}
	r.Handler = mux
	return r
}

func (r *rig) get(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func (r *rig) post(path string, form url.Values) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

var paths = map[string]string{ // what each shows
	"/":                                    "40 of 50|degraded|80.0 %",
	"/routes":                              "gateway.yaml:7:5",
	"/cache?url=/a&purge=p1":               "1 of 2 gateways",
	"/limits?limit=logins&key=x":           "2, whole in 30s",
	"/sessions?user=42":                    "0123456789abcdef<",
	"/explain?url=/a&method=GET&status=":   "What would happen",
	"/config":                              "ba9876543210",
	"/purge?kind=tag&value=%3Cscript%3E":   "Remove all responses with the tag",
	"/reset?limit=logins&key=%3Cscript%3E": "all tokens of the limit logins",
	"/revoke?user=%3Cscript%3E":            "on all devices",
	"/revoke?all=true":                     "Everyone will have to log in again",
	"/reload":                              "Read the policy file again",
	"/purge?kind=all&value=left":           "Remove all responses from the cache",
	"/limits?limit=logins":                 "Look at a key of logins",
}

func TestPagesShowTextAsText(t *testing.T) {
	for path, want := range paths {
		w := start().get(path)
		body := w.Body.String()
		if w.Code != http.StatusOK || !regexp.MustCompile(want).MatchString(body) {
			t.Errorf("%s: %d, no %s in %s", path, w.Code, want, body)
		}
		if strings.Contains(strings.ReplaceAll(body, `<script src="/static/live.js" defer></script>`, ""), "<script") || strings.Contains(body, "ZgotmplZ") {
			t.Errorf("%s has a text as HTML: %s", path, body)
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'self'; script-src 'self';") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s: the policy is %q", path, csp)
		}
	}
}

// Charts say in words what they draw, and draw nothing where nothing is known.
func TestCharts(t *testing.T) {
	body := start().get("/").Body.String()
	for _, want := range []string{
		`aria-label="Requests since 09:00 UTC: answered now 7/s; 4xx now 0/s; 429 now 2/s; 5xx now 1/s; at most 10/s"`,
		`<path class="area ok" d="M0.0 100.0L600.0 30.0L600.0 100.0L0.0 100.0Z"/>`,
		`<path class="area warn" d="M0.0 100.0L600.0 10.0L600.0 30.0L0.0 100.0Z"/>`,
		`<path class="area bad" d="M0.0 100.0L600.0 0.0L600.0 10.0L0.0 100.0Z"/>`,
		`<path class="line warn" d="M0.0 0.0L600.0 0.0"/>`,
		`aria-label="Cache hits since 09:00 UTC: hits now 50.0 %; at most 100.0 %"`,
		`<rect class="down" x=`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}

// While the API fails, pages say so with its status.
func TestPagesWithoutAnAPI(t *testing.T) {
	for path := range paths {
		r := start()
		r.fail = http.StatusServiceUnavailable
		w := r.get(path)
		if body := w.Body.String(); w.Code != http.StatusServiceUnavailable || !strings.Contains(body, "because of &lt;script") || !strings.HasSuffix(body, "</html>\n") {
			t.Errorf("%s: %d %s", path, w.Code, body)
		}
	}
}

func TestChangesAskFirst(t *testing.T) {
	for _, tc := range []struct {
		path string
		form url.Values
		call string // to the API
	}{
		{"/purge", url.Values{"kind": {"tag"}, "value": {"a b"}}, `POST /v1/purges {"tags":["a b"]}`},
		{"/purge", url.Values{"kind": {"url"}, "value": {"/a"}, "soft": {"true"}}, `POST /v1/purges {"soft":true,"urls":["/a"]}`},
		{"/purge", url.Values{"kind": {"all"}}, `POST /v1/purges {"all":true}`},
		{"/reset", url.Values{"limit": {"by user"}, "key": {"a", "b&c"}}, "POST /v1/limits/by%20user/reset?key=a&key=b%26c null"},
		{"/revoke", url.Values{"id": {"0123456789"}}, `POST /v1/sessions/revoke {"id":"0123456789"}`},
		{"/revoke", url.Values{"user": {"42"}}, `POST /v1/sessions/revoke {"user":"42"}`},
		{"/revoke", url.Values{"all": {"true"}}, `POST /v1/sessions/revoke {"all":true}`},
		{"/reload", url.Values{}, "POST /v1/reload null"},
	} {
		r := start()
		page := r.get(tc.path + "?" + tc.form.Encode()).Body.String()
		form := url.Values{}
		for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`).FindAllStringSubmatch(page, -1) {
			form.Add(m[1], strings.ReplaceAll(m[2], "&amp;", "&"))
		}
		changed := func() string {
			for _, call := range r.calls {
				if strings.HasPrefix(call, "POST") {
					return call
				}
			}
			return ""
		}
		if changed() != "" {
			t.Errorf("%s changes something before it was confirmed: %s", tc.path, changed())
		}
		if w := r.post(tc.path, tc.form); w.Code != http.StatusForbidden || changed() != "" {
			t.Errorf("%s without the form's own secret: %d, %s", tc.path, w.Code, changed())
		}
		other := url.Values{"form": {start().get("/reload").Body.String()}}
		if w := r.post(tc.path, other); w.Code == http.StatusOK || changed() != "" {
			t.Errorf("%s with the secret of another process: %d, %s", tc.path, w.Code, changed())
		}
		r.post(tc.path, form)
		if got := changed(); got != tc.call {
			t.Errorf("%s: %s, want %s", tc.path, got, tc.call)
		}
	}
}

func TestFormsThatAreNotComplete(t *testing.T) {
	for _, path := range []string{"/purge", "/purge?kind=tag", "/purge?kind=other&value=a", "/reset?limit=a", "/reset?key=a", "/revoke", "/revoke?user="} {
		r := start()
		if w := r.get(path); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "not complete") || strings.Contains(w.Body.String(), "<form method=\"post\"") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		where, form, _ := strings.Cut(path, "?")
		values, err := url.ParseQuery(form)
		if err != nil {
			t.Fatal(err)
		}
		if w := r.post(where, values); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	r := start()
	if w := r.post("/purge", url.Values{"value": {strings.Repeat("a", 70<<10)}}); w.Code != http.StatusBadRequest {
		t.Errorf("a form of 70 KiB: %d", w.Code)
	}
}

// A change that the API refuses is not said to be done.
func TestChangeThatFails(t *testing.T) {
	r := start()
	secret := regexp.MustCompile(`name="form" value="(\w+)"`).FindStringSubmatch(r.get("/reload").Body.String())[1]
	if w := r.post("/reload", url.Values{"form": {secret}}); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "<h1>Not done</h1>") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A name that is a path is none.
func TestDots(t *testing.T) {
	for _, path := range []string{"/limits?limit=..&key=x", "/cache?purge=.."} {
		if w := start().get(path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	r := start()
	secret := regexp.MustCompile(`name="form" value="(\w+)"`).FindStringSubmatch(r.get("/reload").Body.String())[1]
	if w := r.post("/reset", url.Values{"form": {secret}, "limit": {".."}, "key": {"x"}}); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "<h1>Not done</h1>") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A stream begins with everything, also with what is empty now: the page may show an older state.
func TestFirstEventIsWhole(t *testing.T) {
	r := start()
	r.status = `{"version":"v1","state":"ok","policy":{},"parts":[],"redis":[],"upstreams":{},"recent":{"requests":{}}}`
	server := httptest.NewServer(r)
	defer server.Close()
	res, err := server.Client().Get(server.URL + "/events?page=/config")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	line, err := bufio.NewReader(res.Body).ReadString('\n')
	if err != nil || !strings.Contains(line, `"banner":""`) {
		t.Errorf("%.300s, %v", line, err)
	}
}

func TestEvents(t *testing.T) {
	r := start()
	server := httptest.NewServer(r)
	defer server.Close()
	open := func(page string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/events?page="+page, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	other := open("/other")
	_ = other.Body.Close()
	if other.StatusCode != http.StatusNotFound {
		t.Errorf("a page that is not there: %d", other.StatusCode)
	}
	var streams []*http.Response
	for i := range 16 {
		streams = append(streams, open([]string{"/", "/routes", "/config"}[i%3]))
	}
	for i, want := range [][]string{{"state", "banner", "announce", "clock", "tiles", "charts", "redis", "upstreams", "limited"}, {"state", "banner", "announce", "clock", "routes"}, {"state", "banner", "announce", "clock"}} {
		line, err := bufio.NewReader(streams[i].Body).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		parts := map[string]string{}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &parts); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, name := range want {
			if parts[name] == "" {
				t.Errorf("stream %d has no %s", i, name)
			}
		}
		if len(parts) != len(want) {
			t.Errorf("stream %d has %d parts", i, len(parts))
		}
	}
	full := open("/")
	_ = full.Body.Close()
	if full.StatusCode != http.StatusServiceUnavailable || full.Header.Get("Retry-After") == "" {
		t.Errorf("the 17th stream: %d", full.StatusCode)
	}
	for _, s := range streams {
		_ = s.Body.Close()
	}
	for again := open("/"); ; again = open("/") { // as soon as the others have ended
		_ = again.Body.Close()
		if again.StatusCode == http.StatusOK {
			break
		}
	}
}

// The API answers a reload in plain text.
func TestChangeAnsweredWithText(t *testing.T) {
	mux, api := http.NewServeMux(), start()
	texts := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.WriteString(w, "reloaded\n")
			return
		}
		w.WriteHeader(http.StatusNotFound)
	})
	for _, p := range dashboard.Pages(texts) {
		mux.HandleFunc(p.Method+" "+p.Path, p.Serve)
	}
	api.Handler = mux
	secret := regexp.MustCompile(`name="form" value="(\w+)"`).FindStringSubmatch(api.get("/reload").Body.String())[1]
	if w := api.post("/reload", url.Values{"form": {secret}}); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "in force as it is now") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// A limit of several parts has a field for each, and one of the list's whole keys is none of them.
func TestPartsOfAKey(t *testing.T) {
	r := start()
	fields := func(path string) (values []string) {
		for _, m := range regexp.MustCompile(`name="key" required value="([^"]*)"`).FindAllStringSubmatch(r.get(path).Body.String(), -1) {
			values = append(values, m[1])
		}
		return values
	}
	for path, want := range map[string][]string{
		"/limits?limit=pairs":             {"", ""},
		"/limits?limit=pairs&key=a&key=b": {"a", "b"},
		"/limits?limit=pairs&key=pairs|x": {"", ""},
		"/limits?limit=logins&key=a":      {"a"},
		"/limits?limit=other":             nil,
	} {
		if got := fields(path); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
