package cache_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const sentPolicy = `
version: 1
upstreams: {up: {targets: ["http://127.0.0.1:1"]}}
session: {cookie: {name: gw, secure: false}, offload: [kept]}
routes:
  - {name: plain, match: {path: /plain}, upstream: up, cache: {ttl: 300s}}
  - {name: keyed, match: {path: /keyed}, upstream: up, cache: {ttl: 300s, key: ["cookie:lang", "cookie:theme", "header:X-Key"], vary: [X-Vary], pass: [X-Pass]}}
  - {name: bypass, match: {path: /bypass}, upstream: up, cache: {ttl: 300s, bypass: ["cookie:lang"]}}
  - {name: mine, match: {path: /mine}, upstream: up, session: optional, cache: {ttl: 300s, key: [session]}}
  - {name: strict, match: {path: /strict}, upstream: up, cache: {mode: strict, key: ["cookie:lang"], bypass: ["cookie:auth"]}}
  - {name: loose, match: {path: /loose}, upstream: up, cache: {mode: strict}}
`

// sentEdge is an edge whose upstream records the heads of its requests.
type sentEdge struct {
	*edge
	mu    sync.Mutex
	heads []http.Header // guarded by mu
	vary  string        // of responses; guarded by mu
	log   bytes.Buffer
}

func newSentEdge(t *testing.T, mutate func(out, in http.Header)) *sentEdge {
	e := &sentEdge{}
	e.edge = newEdge(t, options{policy: sentPolicy, mutate: mutate, log: slog.New(slog.NewTextHandler(&e.log, nil))})
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.heads = append(e.heads, r.Header.Clone())
		w.Header().Set("Cache-Control", "max-age=300")
		if e.vary != "" {
			w.Header().Set("Vary", e.vary)
		}
		_, _ = io.WriteString(w, flaskCookies(r.Header["Cookie"])["lang"])
	})
	return e
}

func (e *sentEdge) varies(by string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.vary = by
}

// last is the head of the newest request that reached the upstream.
func (e *sentEdge) last() http.Header {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.heads[len(e.heads)-1].Clone()
	for _, name := range []string{"Via", "X-Forwarded-For"} { // the test's proxy is not the gateway's
		delete(h, name)
	}
	return h
}

// pair matches a pair of a Cookie field, as werkzeug 2.2 reads it.
var pair = regexp.MustCompile(`(?s)([^=;]+)(?:\s*=\s*("(?:[^\\"]|\\.)*"|.*?))?\s*;`)

// flaskCookies are the cookies that Flask behind a WSGI server sees, the first of each name.
func flaskCookies(lines []string) map[string]string {
	cookies := map[string]string{}
	for _, m := range pair.FindAllStringSubmatch(strings.Join(lines, ",")+";", -1) {
		name := strings.TrimFunc(m[1], func(r rune) bool { return r <= ' ' || r == 0xa0 || r == 0x85 || r == 0xfffd })
		if _, there := cookies[name]; !there {
			cookies[name] = m[2]
		}
	}
	return cookies
}

func TestCookiesAreSentAsTheyAreKeyed(t *testing.T) {
	for _, tt := range []struct {
		says, path string
		lines      []string
		want       string // the line upstream
		bypass     bool
	}{
		{says: "only keyed ones, in the order of the key", path: "/keyed", lines: []string{"theme=dark; a=1; lang=en"}, want: "lang=en; theme=dark"},
		{says: "none is keyed", path: "/plain", lines: []string{"a=1; lang=en"}},
		{says: "a name that only some take for another", path: "/keyed", lines: []string{"\xa0lang=EVIL; lang=en"}, want: "lang=en"},
		{says: "the same, in strict mode", path: "/strict", lines: []string{"\xa0lang=EVIL; lang=en"}, want: "lang=en"},
		{says: "two lines are one", path: "/keyed", lines: []string{"theme=dark", "lang=en"}, want: "lang=en; theme=dark"},
		{says: "in strict mode too", path: "/loose", lines: []string{"theme=dark", "a=1,2"}, want: "theme=dark; a=1,2"},
		{says: "all of one name", path: "/keyed", lines: []string{"lang=en; lang=he"}, want: "lang=en; lang=he"},
		{says: "values keep quotes, commas and UTF-8", path: "/keyed", lines: []string{`lang="e, n=שלום"`}, want: `lang="e, n=שלום"`},
		{says: "blanks are no part of a cookie", path: "/keyed", lines: []string{"lang = en\t;  theme=\tdark"}, want: "lang=en; theme=dark"},
		{says: "without = the value is empty", path: "/keyed", lines: []string{"lang; theme="}, want: "lang=; theme="},
		{says: "control bytes", path: "/loose", lines: []string{"a=1\t2; b=3"}, want: "b=3"},
		{says: "the session's own, and those that stay in it", path: "/loose", lines: []string{"gw=sealed; a=1; kept=2"}, want: "a=1"},
		{says: "a bypass that only some would see", path: "/bypass", lines: []string{"\x85lang=en"}},
		{says: "a bypass", path: "/bypass", lines: []string{"lang=en"}, want: "lang=en", bypass: true},
	} {
		t.Run(tt.says, func(t *testing.T) {
			e := newSentEdge(t, nil)
			var header []string
			for _, line := range tt.lines {
				header = append(header, "Cookie", line)
			}
			got := e.get(tt.path, header...)
			if got.status != 200 || strings.Contains(got.cacheStatus(), "bypass") != tt.bypass {
				t.Errorf("%d, %s", got.status, got.cacheStatus())
			}
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			if diff := cmp.Diff(want, e.last()["Cookie"]); diff != "" {
				t.Errorf("upstream (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheFieldsOfASharedFill(t *testing.T) {
	e := newSentEdge(t, nil)
	client := []string{
		"X-Key", "k, 1", "X-Vary", " a ,b", "X-Pass", "p", "X-Other", "o", "Accept", "text/html", "User-Agent", "curl", "Accept-Language", "he",
		"Cache-Control", "max-age=60", "Origin", "https://a.test", "X-Real-Ip", "192.0.2.1", "Accept-Encoding", "br", "Via", "1.0 client",
	}
	e.get("/keyed", client...)
	want := http.Header{
		"X-Key": {"k, 1"}, "X-Vary": {"a,b"}, "X-Pass": {"p"}, "Accept": {"*/*"}, "User-Agent": {"gateway"}, "Accept-Encoding": {"identity"}, "Origin": {"https://a.test"},
	}
	if diff := cmp.Diff(want, e.last()); diff != "" {
		t.Errorf("a shared fill (-want +got):\n%s", diff)
	}
	e.get("/mine", append(client, "X-Test-Session", "s1")...)
	if h := e.last(); h.Get("X-Other") != "o" || h.Get("Accept") != "text/html" || h.Get("Accept-Language") != "he" {
		t.Errorf("a private fill does not send everything: %v", h)
	}
	e.get("/loose", client...)
	if h := e.last(); h.Get("X-Other") != "o" || h.Get("User-Agent") != "curl" || h.Get("Cache-Control") != "max-age=60" {
		t.Errorf("a strict fill does not send everything: %v", h)
	}
	line := e.log.String()
	if strings.Count(line, "\n") != 1 || !strings.Contains(line, "route=keyed") || !strings.Contains(line, "at=test.yaml:7:") ||
		!strings.Contains(line, "pass: [Accept-Language, X-Other]") {
		t.Errorf("the log: %s", line)
	}
	e.get("/keyed?again", client...)
	if again := e.log.String(); again != line {
		t.Errorf("logged twice: %s", again)
	}
}

func TestWhatIsStrippedSelectsNothing(t *testing.T) {
	e := newSentEdge(t, nil)
	e.varies("Cookie, Accept-Encoding, X-Real-Ip")
	e.get("/plain", "Cookie", "tracker=1")
	e.expect("another visitor", e.get("/plain", "Cookie", "tracker=2", "X-Real-Ip", "192.0.2.9"), "", "edge; hit")
	e.get("/loose", "Cookie", "a=1; gw=one")
	e.expect("another session, in strict mode", e.get("/loose", "Cookie", "a=1; gw=two"), "", "edge; hit")
	e.expect("another cookie", e.get("/loose", "Cookie", "a=2; gw=two"), "", "edge; fwd=vary-miss")
}

// A response that varies by a field which was not sent declares it. It is not given to a client
// that sent the field; the request is sent again with it.
func TestAResponseDeclaresAField(t *testing.T) {
	e := newSentEdge(t, nil)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept-Language")
		_, _ = io.WriteString(w, "in "+r.Header.Get("Accept-Language"))
	})
	e.expect("first", e.get("/plain", "Accept-Language", "he"), "in he", "edge; fwd=uri-miss; fwd-status=200; stored")
	e.expect("again", e.get("/plain", "Accept-Language", "he"), "in he", "edge; hit")
	e.expect("another", e.get("/plain", "Accept-Language", "en"), "in en", "edge; fwd=vary-miss; fwd-status=200; stored")
	e.expect("without", e.get("/plain"), "in ", "edge; fwd=vary-miss; fwd-status=200; stored")
	e.expect("on all of the route", e.get("/plain?page=2", "Accept-Language", "he"), "in he", "edge; fwd=uri-miss; fwd-status=200; stored")
	if n := e.asked.Load(); n != 5 { // the first one twice
		t.Errorf("asked %d times", n)
	}
	e.clock.Advance(400 * time.Second)
	e.expect("refilled", e.get("/plain", "Accept-Language", "en"), "in en", "edge; fwd=stale")
}

// draw makes a request of odd and plain parts.
func draw(r *rand.Rand) (header []string) {
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	for range r.IntN(3) {
		var pairs []string
		for range 1 + r.IntN(3) {
			pairs = append(pairs, one("", " ", "\xa0", "\t", "\x85")+one("lang", "theme", "auth", "other", "kept", "gw", "a b")+
				one("=", "=", " = ", "")+one("en", "he", `"en`, `"x; lang=en"`, "a lang=he", "1,2", "en\xa0", `\"`, ""))
		}
		header = append(header, "Cookie", strings.Join(pairs, one("; ", ";", ", ")))
	}
	for _, name := range []string{"X-Key", "X-Vary", "X-Pass", "X-Other", "Accept", "User-Agent", "Accept-Language", "Origin", "X-Real-Ip", "Via", "Pragma"} {
		if r.IntN(4) == 0 {
			header = append(header, name, one("a", "b", "a, b", "a,b", "B;q=0.5,a", "a, b;q=.5"))
		}
	}
	return header
}

// twist changes a value in a way that some programs would ignore.
func twist(r *rand.Rand, value string) string {
	switch r.IntN(6) {
	case 0:
		return "\xa0" + value
	case 1:
		return strings.ReplaceAll(value, ", ", ",")
	case 2:
		return strings.ReplaceAll(value, "; ", ";")
	case 3:
		return value + "; lang=en"
	case 4:
		return strings.ToLower(value)
	}
	return strings.TrimPrefix(value, "\xa0")
}

// relevant is what two requests of one key and variant must have in common: in managed mode
// everything but what the policy passes, in strict mode what key and bypass read, as Flask reads
// it.
func relevant(path string, h http.Header) any {
	if path == "/strict" {
		cookies := flaskCookies(h["Cookie"])
		return fmt.Sprintf("lang %q, auth %q", cookies["lang"], cookies["auth"])
	}
	delete(h, "X-Pass")
	return h
}

// misread looks for two requests of which one gets the other's response, although the upstream
// would have seen something different; "": none.
func misread(t *testing.T, mutate func(out, in http.Header), seed uint64, pairs int) string {
	e, r := newSentEdge(t, mutate), rand.New(rand.NewPCG(seed, 1))
	for i := range pairs {
		path := []string{"/plain", "/keyed", "/bypass", "/strict"}[i%4]
		e.varies([]string{"", "Cookie", "Accept-Language", "X-Other, Origin"}[r.IntN(4)])
		one, other := draw(r), draw(r)
		if len(one) > 0 && r.IntN(4) > 0 { // much alike
			other = slices.Clone(one)
			at := r.IntN(len(other)/2)*2 + 1
			other[at] = twist(r, other[at])
		}
		query := fmt.Sprintf("?%d", i)
		e.get(path+query, one...)
		brought := relevant(path, e.last())
		asked := e.asked.Load()
		hit := e.get(path+query, other...)
		if e.asked.Load() != asked || !strings.HasPrefix(hit.cacheStatus(), "edge; hit") {
			continue
		}
		e.get(path+query+"x", other...) // as it is sent on a miss
		if diff := cmp.Diff(brought, relevant(path, e.last())); diff != "" {
			return fmt.Sprintf("%s with %q gets the response to %q:\n%s", path, other, one, diff)
		}
	}
	return ""
}

func TestOneKeyIsOneRequestUpstream(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	if found := misread(t, nil, seed, 2000); found != "" {
		t.Error(found)
	}
}

// Each of these old bugs, planted again, is detected.
func TestOneKeySeesMutations(t *testing.T) {
	as := func(name string) func(out, in http.Header) {
		return func(out, in http.Header) {
			delete(out, name)
			if values := in[name]; len(values) > 0 {
				out[name] = values
			}
		}
	}
	for says, mutate := range map[string]func(out, in http.Header){
		"cookies are sent unchanged": as("Cookie"), "an undeclared field is sent": as("X-Other"),
		"a field goes up as it came, not as it selects": as("X-Vary"), "Accept goes up": as("Accept"),
	} {
		if misread(t, mutate, 1, 2000) == "" {
			t.Errorf("%s: not detected", says)
		}
	}
}
