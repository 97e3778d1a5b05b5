package session_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/session"
)

// kept are the cookies that stay in the session.
var kept = []string{"session", "access_token"}

// newOffload is a gateway that keeps them, in front of an upstream that echoes the cookies it got.
func newOffload(t *testing.T, store session.Store) *gateway {
	g := newGateway(t, ringOf(t, "a"), store)
	g.settings.Offload = kept
	g.answer()
	return g
}

// answer lets the upstream set cookies.
func (g *gateway) answer(set ...string) {
	g.setUpstream(func(w http.ResponseWriter, r *http.Request) {
		if say := r.URL.Query().Get("say"); say != "" {
			w.Header().Set("X-Gw-Session", say)
		}
		w.Header()["Set-Cookie"] = set
		_, _ = io.WriteString(w, strings.Join(r.Header["Cookie"], " | "))
	})
}

// give makes the upstream set cookies in one response. It returns the browser's session cookie
// afterwards, and the other cookies that it got.
func (g *gateway) give(path, cookie string, set ...string) (now string, others []string) {
	g.t.Helper()
	g.answer(set...)
	r := g.get(path, cookie)
	g.answer()
	for _, line := range r.Header.Values("Set-Cookie") {
		if !strings.HasPrefix(line, cookieName+"=") {
			others = append(others, line)
		}
	}
	if r.set != nil {
		cookie = r.cookie
	}
	return cookie, others
}

// upstreamGets compares the cookies that reach the upstream, except the session cookie, which proxy
// removes.
func (g *gateway) upstreamGets(what, path, cookie, want string) {
	g.t.Helper()
	if got := strings.TrimPrefix(strings.TrimPrefix(g.get(path, cookie).body, cookieName+"="+cookie), "; "); got != want {
		g.t.Errorf("%s: the upstream got the cookies %q, want %q", what, got, want)
	}
}

func TestCookiesStayInTheSession(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, tt := range []struct {
		says    string
		set     []string
		path    string        // of the next request; "": /optional
		after   time.Duration // until then
		want    string        // cookies that it brings upstream
		browser []string      // what the browser gets
	}{
		{says: "a cookie stays", set: []string{"session=abc; HttpOnly; Path=/"}, want: "session=abc"},
		{says: "others go to the browser", set: []string{"a=1; Path=/", "session=abc; HttpOnly"}, want: "session=abc", browser: []string{"a=1; Path=/"}},
		{says: "a name of another case is another cookie", set: []string{"Session=1"}, browser: []string{"Session=1"}},
		{says: "bytes stay as they are", set: []string{`session="a\054 b=%20; HttpOnly`, "access_token=\xff=; httponly"}, want: "session=\"a\\054 b=%20; access_token=\xff="},
		{says: "Max-Age ends it", set: []string{"session=abc; Max-Age=60; HttpOnly"}, after: time.Minute},
		{says: "and not before", set: []string{"session=abc; Max-Age=60; HttpOnly"}, after: 59 * time.Second, want: "session=abc"},
		{says: "Expires ends it", set: []string{"session=abc; Expires=" + start.Add(time.Minute).UTC().Format(http.TimeFormat) + "; HttpOnly"}, after: time.Minute},
		{says: "Max-Age goes before Expires", set: []string{"session=abc; Max-Age=600; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly"}, after: time.Minute, want: "session=abc"},
		{says: "an endless Max-Age does not overflow", set: []string{"session=abc; Max-Age=999999999999; HttpOnly"}, want: "session=abc"},
		{says: "the last of two stands", set: []string{"session=a; HttpOnly", "session=b; HttpOnly"}, want: "session=b"},
		{says: "one that is set and deleted is gone", set: []string{"session=a; HttpOnly", "access_token=t; HttpOnly", "session=; Max-Age=0"}, want: "access_token=t"},
		{says: "a path that matches", set: []string{"session=abc; Path=/optional; HttpOnly"}, path: "/optional/deep", want: "session=abc"},
		{says: "a path that does not", set: []string{"session=abc; Path=/optional/deep; HttpOnly"}},
		{says: "a path is not a prefix of names", set: []string{"session=abc; Path=/optional; HttpOnly"}, path: "/optionally"},
		{says: "longer paths come first", set: []string{"session=a; Path=/; HttpOnly", "session=b; Path=/optional; HttpOnly"}, path: "/optional/deep", want: "session=b; session=a"},
		{says: "the path of the request is the default", set: []string{"session=abc; HttpOnly; Path=x"}, want: "session=abc"},
		{says: "a domain that is the host", set: []string{"session=abc; Domain=.api.example.org; HttpOnly"}, want: "session=abc"},
		{says: "another domain's is the browser's", set: []string{"session=abc; Domain=example.org; HttpOnly"}, browser: []string{"session=abc; Domain=example.org; HttpOnly"}},
		{says: "and deletes none but itself", set: []string{"session=abc; HttpOnly; Path=/", "session=; Domain=example.org; Path=/; Max-Age=0"}, want: "session=abc", browser: []string{"session=; Domain=example.org; Path=/; Max-Age=0"}},
		{says: "what scripts may read is the browser's", set: []string{"session=abc"}, browser: []string{"session=abc"}},
		{says: "what browsers would not keep either", set: []string{"session=" + long + "; HttpOnly"}, browser: []string{"session=" + long + "; HttpOnly"}},
		{says: "a deletion begins no session", set: []string{"session=; Max-Age=0; Path=/"}},
	} {
		t.Run(tt.says, func(t *testing.T) {
			g := newOffload(t, nil)
			cookie, others := g.give("/optional", "", tt.set...)
			if fmt.Sprint(others) != fmt.Sprint(tt.browser) {
				t.Errorf("the browser got %q, want %q", others, tt.browser)
			}
			if began := cookie != ""; began == (strings.Contains(tt.says, "deletion") || strings.Contains(tt.says, "another case")) {
				t.Errorf("a session began: %v", began)
			}
			g.clock.Advance(tt.after)
			if tt.path == "" {
				tt.path = "/optional"
			}
			g.upstreamGets("then", tt.path, cookie, tt.want)
		})
	}
}

// An offloaded cookie is in no response header, interim or final, and the response is private.
func TestKeptCookiesNeverReachTheBrowser(t *testing.T) {
	g := newOffload(t, nil)
	g.setUpstream(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Set-Cookie", "session=secret; HttpOnly")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Set-Cookie", "session=secret; HttpOnly")
		w.Header().Set("Cache-Control", "public, max-age=60")
	})
	interim := 0
	for _, path := range []string{"/optional", "/off"} {
		r, err := http.NewRequest(http.MethodGet, g.server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		trace := &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			interim++
			if strings.Contains(fmt.Sprint(h), "secret") {
				t.Errorf("%s: in a 1xx: %v", path, h)
			}
			return nil
		}}
		got := g.do(r.WithContext(httptrace.WithClientTrace(t.Context(), trace)))
		if strings.Contains(fmt.Sprint(got.Header), "secret") || got.Header.Get("Cache-Control") != "private, max-age=60" {
			t.Errorf("%s: %v", path, got.Header)
		}
		if began := got.set != nil; began != (path == "/optional") {
			t.Errorf("%s: a session began: %v (%s)", path, began, got.ex.Facts.Reason)
		}
	}
	if interim != 2 {
		t.Errorf("%d interim responses", interim)
	}
}

func TestABrowserBringsNoKeptCookies(t *testing.T) {
	const forged = "session=forged; session = again"
	for _, tt := range []struct {
		says, path, set string // set: what a session has; "": there is none
		migrate         bool
		want            string // beside a=1
	}{
		{says: "without a session", path: "/optional"},
		{says: "on a route without sessions", path: "/off"},
		{says: "beside the kept one", path: "/optional", set: "session=own; HttpOnly", want: "; session=own"},
		{says: "beside another one", path: "/optional", set: "access_token=own; HttpOnly", want: "; access_token=own"},
		{says: "while migrating, without a session", path: "/optional", migrate: true, want: "; " + forged},
		{says: "while migrating, with one", path: "/optional", set: "session=own; HttpOnly", migrate: true, want: "; session=own"},
		{says: "of one that is the browser's", path: "/optional", set: "session=readable", want: "; " + forged},
	} {
		t.Run(tt.says, func(t *testing.T) {
			g := newOffload(t, nil)
			g.settings.OffloadMigrate = tt.migrate
			var own string
			if tt.set != "" {
				cookie, _ := g.give("/optional", "", tt.set)
				own = cookieName + "=" + cookie + "; "
			}
			r, err := http.NewRequest(http.MethodGet, g.server.URL+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header["Cookie"] = []string{own + "a=1", forged}
			got := strings.ReplaceAll(strings.TrimPrefix(g.do(r).body, own), " | ", "; ")
			if want := "a=1" + tt.want; got != want {
				t.Errorf("the upstream got %q, want %q", got, want)
			}
		})
	}
}

// After a migration, the browser's old copy must not sign the user in again once the session has
// ended.
func TestAnOldCopyIsDeletedOnceItsCookieStaysHere(t *testing.T) {
	for _, set := range []string{"session=new; HttpOnly; Path=/", "session=; Max-Age=0; Path=/"} {
		g := newOffload(t, nil)
		g.settings.OffloadMigrate = true
		g.answer(set)
		r, err := http.NewRequest(http.MethodGet, g.server.URL+"/optional", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", "session=old")
		deleted := false
		for _, c := range g.do(r).Cookies() {
			deleted = deleted || c.Name == "session" && c.MaxAge < 0 && c.Path == "/"
		}
		if !deleted {
			t.Errorf("after %q the browser still has its old copy", set)
		}
	}
}

func TestEverySetCookieAndDeletionCounts(t *testing.T) {
	g := newOffload(t, nil)
	first, _ := g.give("/optional", "", "session=1; HttpOnly", "access_token=t; HttpOnly")
	second, _ := g.give("/optional", first, "session=2; HttpOnly")
	g.upstreamGets("the newer cookie, by the older seal", "/optional", first, "access_token=t; session=2")
	third, _ := g.give("/optional", second, "session=; Max-Age=0")
	g.upstreamGets("after the deletion", "/optional", third, "access_token=t")
	g.upstreamGets("after the deletion, by an older seal", "/optional", second, "access_token=t")
	saves := g.store.saves.Load()
	if same, _ := g.give("/optional", third, "access_token=t; HttpOnly"); same != third || g.store.saves.Load() != saves {
		t.Error("a cookie that stays as it is was written again")
	}
	fourth, _ := g.give("/optional", third, "access_token=; Max-Age=0")
	if fourth != "" {
		t.Error("a guest whose last cookie was deleted still has a session")
	}
	for _, old := range []string{first, second, third} {
		g.expect("an old copy after the last deletion", old, "", "revoked")
	}
}

func TestALogoutEndsKeptCookies(t *testing.T) {
	g := newOffload(t, nil)
	g.answer("session=1; HttpOnly", "access_token=t; HttpOnly")
	login := g.get("/signal", "", `login {"user":"42"}`)
	g.answer()
	g.upstreamGets("after the login", "/optional", login.cookie, "session=1; access_token=t")
	g.answer("session=; Max-Age=0", "access_token=; Max-Age=0")
	if out := g.get("/signal", login.cookie, "logout"); out.set == nil || out.cookie != "" || len(out.Cookies()) != 1 {
		t.Errorf("the logout set %v", out.Cookies())
	}
	g.answer()
	g.upstreamGets("a copy after the logout", "/optional", login.cookie, "")
	g.expect("a copy after the logout", login.cookie, "", "revoked")
}

func TestANewUserGetsNoCookiesOfTheOneBefore(t *testing.T) {
	g := newOffload(t, nil)
	guest, _ := g.give("/optional", "", "session=guest; HttpOnly")
	login := func(user, cookie string) string { return g.get("/signal", cookie, `login {"user":"`+user+`"}`).cookie }
	first := login("1", guest)
	g.upstreamGets("a guest's go along", "/optional", first, "session=guest")
	g.upstreamGets("the same user's go along", "/optional", login("1", first), "session=guest")
	g.upstreamGets("another user's do not", "/optional", login("2", login("1", "")), "")
	other := login("1", "")
	other, _ = g.give("/optional", other, "session=1; HttpOnly")
	g.upstreamGets("another user's do not", "/optional", login("2", other), "")
}

// Cookies in the seal need no store.
func TestKeptCookiesOutliveEveryStore(t *testing.T) {
	g := newOffload(t, nil)
	older, _ := g.give("/optional", "", "session=1; HttpOnly", "access_token=t; HttpOnly")
	newer, _ := g.give("/optional", older, "session=; Max-Age=0")
	revocations := g.store.Store.(*memory.Sessions).Revocations()

	lost := memory.NewSessions(memory.SessionsConfig{Now: g.clock.Now})
	if err := lost.Revoke(t.Context(), revocations); err != nil {
		t.Fatal(err)
	}
	restarted := newOffload(t, lost)
	restarted.upstreamGets("with every record lost", "/optional", newer, "access_token=t")
	restarted.upstreamGets("a seal from before a deletion", "/optional", older, "")
	after, _ := restarted.give("/optional", newer, "session=3; HttpOnly")
	restarted.upstreamGets("a cookie set then", "/optional", after, "access_token=t; session=3")

	deaf := newOffload(t, deafStore{})
	met, _ := deaf.give("/optional", newer, "session=4; HttpOnly")
	deaf.upstreamGets("with no store at all", "/optional", met, "access_token=t; session=4")
	g.upstreamGets("the seal is later than the record", "/optional", met, "access_token=t; session=4")
	again, _ := g.give("/optional", met, "session=5; HttpOnly")
	g.upstreamGets("and what follows later than both", "/optional", again, "access_token=t; session=5")
}

func TestCookiesThatDoNotFitIntoTheSeal(t *testing.T) {
	g := newOffload(t, nil)
	big := "session=" + strings.Repeat("x", 3500)
	token := "access_token=" + strings.Repeat("y", 2000)
	cookie, others := g.give("/optional", "", big+"; HttpOnly", token+"; HttpOnly")
	if others != nil || !strings.Contains(g.last.Facts.Reason, "only in the record") {
		t.Errorf("the browser got %d cookies; %s", len(others), g.last.Facts.Reason)
	}
	if len(cookie) > 3900 {
		t.Errorf("a cookie of %d bytes", len(cookie))
	}
	g.upstreamGets("out of the record", "/optional", cookie, big+"; "+token)

	deaf := newOffload(t, deafStore{})
	same, others := deaf.give("/optional", cookie, "session=small; HttpOnly")
	if same != cookie || fmt.Sprint(others) != "[session=small; HttpOnly]" {
		t.Errorf("what cannot be kept: the browser got %q, and another seal: %v", others, same != cookie)
	}
	if _, others = deaf.give("/optional", cookie, "session=; Max-Age=0"); fmt.Sprint(others) != "[session=; Max-Age=0]" || deaf.last.Facts.Reason == "" {
		t.Errorf("a deletion that cannot be kept: the browser got %q (%s)", others, deaf.last.Facts.Reason)
	}
	g.upstreamGets("and nothing was lost", "/optional", cookie, big+"; "+token)

	_, others = g.give("/optional", cookie, "session="+strings.Repeat("z", 4000)+"; Path=/a; HttpOnly", "access_token="+strings.Repeat("z", 4000)+"; Path=/b; HttpOnly")
	if len(others) != 2 || !strings.Contains(g.last.Facts.Reason, "does not fit") {
		t.Errorf("above 8 KiB the browser got %d cookies; %s", len(others), g.last.Facts.Reason)
	}
}

// In whatever order responses reach a browser, the newest cookie stays.
func TestParallelResponsesKeepTheNewestCookie(t *testing.T) {
	g := newOffload(t, nil)
	cookie, _ := g.give("/optional", "", "session=0; HttpOnly")
	arrived, release := make(chan bool), make(chan bool)
	g.setUpstream(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "say=slow" {
			arrived <- true
			<-release
			w.Header().Set("Set-Cookie", "access_token=slow; HttpOnly")
			return
		}
		w.Header().Set("Set-Cookie", "session=fast; HttpOnly")
	})
	slow := make(chan reply)
	go func() { slow <- g.get("/optional", cookie, "slow") }()
	<-arrived
	fast := g.get("/optional", cookie)
	release <- true
	late := <-slow
	g.answer()
	for _, seal := range []string{cookie, fast.cookie, late.cookie} {
		g.upstreamGets("both", "/optional", seal, "session=fast; access_token=slow")
	}
}

// A response to a request without the session's cookies must not change them.
func TestASharedAnswerReplacesNoKeptCookie(t *testing.T) {
	g := newOffload(t, nil)
	cookie, _ := g.give("/optional", "", "session=own; HttpOnly")
	g.plan = &exchange.Plan{Lookup: true, Store: true, Shared: true}
	if same, others := g.give("/optional", cookie, "session=nobody; HttpOnly"); same != cookie || others != nil {
		t.Errorf("the browser got %q", others)
	}
	guest, _ := g.give("/optional", "", "session=guest; HttpOnly")
	g.plan = nil
	g.upstreamGets("whoever had one", "/optional", cookie, "session=own")
	g.upstreamGets("whoever had none", "/optional", guest, "session=guest")
}

// Expires is read as by a browser, which accepts several date formats (RFC 6265, 5.1.1).
func TestExpiresIsReadAsBrowsersDo(t *testing.T) {
	at := start.Add(10 * time.Minute).UTC()
	for _, layout := range []string{"Mon, 02 Jan 2006 15:04:05 GMT", "Mon, 02-Jan-2006 15:04:05 GMT", "Monday, 02-Jan-06 15:04:05 GMT", "Mon, 02-Jan-06 15:04:05 GMT", "Mon Jan _2 15:04:05 2006", "Mon, 2 Jan 2006 15:04:05 GMT", "Mon, 02 Jan 2006 15:04:05 UTC", "Mon, 02 Jan 2006 15:04:05 +0000"} {
		g := newOffload(t, nil)
		cookie, _ := g.give("/optional", "", "session=abc; HttpOnly; Path=/; Expires="+at.Format(layout))
		g.clock.Advance(11 * time.Minute)
		if got := g.get("/optional", cookie).body; strings.Contains(got, "session=abc") {
			t.Errorf("%s: still there", at.Format(layout))
		}
	}
}

// An upstream cannot replace the session cookie.
func TestAnUpstreamDoesNotReplaceTheSessionCookie(t *testing.T) {
	for _, path := range []string{"/optional", "/off"} {
		g := newOffload(t, nil)
		cookie := g.login("42")
		g.answer(cookieName+"=; Max-Age=0; Path=/; Secure; HttpOnly", "a=1")
		if r := g.get(path, cookie); r.set != nil {
			t.Errorf("%s: the browser loses its session by %v", path, r.set)
		}
	}
}

// PHP reads a dot as an underscore and takes the first of two cookies, which another host of the
// domain could plant.
func TestABrowserBringsNoOtherSpellingOfAKeptCookie(t *testing.T) {
	g := newOffload(t, nil)
	cookie, _ := g.give("/optional", "", "access_token=own; HttpOnly; Path=/")
	for _, own := range []string{"", cookieName + "=" + cookie + "; "} {
		r, err := http.NewRequest(http.MethodGet, g.server.URL+"/optional", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", own+"access.token=forged; a=1")
		if got := g.do(r).body; strings.Contains(got, "forged") {
			t.Errorf("the upstream got %q", strings.TrimPrefix(got, own))
		}
	}
}

// Some upstreams also split cookies at commas (RFC 2109), and Python's SimpleCookie at spaces.
func TestABrowserHidesNoKeptCookieInAnothersValue(t *testing.T) {
	g := newOffload(t, nil)
	for _, line := range []string{"a=1, session=forged", "a=1 session=forged", "a=1,session=forged"} {
		r, err := http.NewRequest(http.MethodGet, g.server.URL+"/optional", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", line)
		if got := g.do(r).body; strings.Contains(got, "forged") {
			t.Errorf("%q: the upstream got %q", line, got)
		}
	}
}
