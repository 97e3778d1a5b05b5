package main

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/jewgo/gateway/test/env"
)

const dashboardPolicy = `
version: 1
server: {data_dir: ./data, hosts: [127.0.0.1]}
redis: {url: %q, budget: 2s}
session: {cookie: {name: gw, secure: false}}
cache: {memory: 16MiB}
upstreams:
  app: {targets: [%q]}
limits:
  clients: {key: client_ip, rate: 6000/min, burst: 5000}
  logins: {key: client_ip, rate: 10/h, burst: 3}
routes:
  - {name: login, match: {methods: [POST], path: /login}, upstream: app, limits: [logins], session: optional, session_signal: true}
  - {name: lists, match: {methods: [GET], path: "/lists/{id}"}, upstream: app, limits: [clients], cache: {ttl: 1h, tags: [lists]}}
  - {name: home, match: {path: /home}, upstream: app, session: required}
  - {name: rest, match: {path: "/{rest...}"}, upstream: app}
`

// dashboardRig is a gateway with some traffic, and a browser.
type dashboardRig struct {
	*gatewayProcess
	redis   *env.RedisServer
	browser context.Context
	axe     string
	cookie  string // of a session of user 42
}

func startDashboard(t *testing.T) *dashboardRig {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/login":
			w.Header().Set("X-Gw-Session", `login {"user":"42","roles":["editor"]}`)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, strings.Repeat("list ", 500))
	}))
	t.Cleanup(upstream.Close)
	rig := &dashboardRig{redis: env.Redis(t)}
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	writePolicy(t, file, fmt.Sprintf(dashboardPolicy, rig.redis.URL, upstream.URL))
	rig.gatewayProcess = start(t, nil, "run", "--config", file)
	login := rig.do("POST", "/login", "")
	rig.cookie, _, _ = strings.Cut(login.Header.Get("Set-Cookie"), ";")
	rig.traffic()

	packed, err := os.Open("testdata/axe-4.14.1.min.js.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = packed.Close() }()
	text, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	axe, err := io.ReadAll(text)
	if err != nil {
		t.Fatal(err)
	}
	rig.axe = string(axe)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir())) // root has no sandbox
	allocator, end := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(end)
	browser, end := chromedp.NewContext(allocator)
	t.Cleanup(end)
	rig.browser = browser
	if err := chromedp.Do(browser, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("the browser: %v", err)
	}
	return rig
}

// traffic has hits, misses, failures and refusals.
func (rig *dashboardRig) traffic() {
	for i := range 60 {
		rig.get(fmt.Sprintf("/lists/%d", i%6))
	}
	rig.get("/broken")
	for range 4 {
		rig.do("POST", "/login", "")
	}
}

// tab is one page in the browser. It fails its test if the console has an error.
type tab struct {
	t    *testing.T
	rig  *dashboardRig
	ctx  context.Context
	mu   sync.Mutex
	said []string // guarded by mu
}

func (rig *dashboardRig) open(t *testing.T, width int64, scheme string) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(rig.browser)
	t.Cleanup(end)
	b := &tab{t: t, rig: rig, ctx: ctx}
	if err := chromedp.Do(ctx); err != nil { // opens it; it would close with the context of a step
		t.Fatal(err)
	}
	b.do(chromedp.EmulateViewport(width, 900), chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	}))
	t.Cleanup(func() {
		if said := b.console(); len(said) > 0 {
			t.Errorf("the console: %q", said)
		}
	})
	console := chromedp.Console(ctx)
	go func() {
		for m, err := range console {
			if err != nil {
				return
			}
			b.mu.Lock()
			b.said = append(b.said, fmt.Sprint(m.Type, ": ", m.Text))
			b.mu.Unlock()
		}
	}()
	return b
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, env.Patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%v\nthe console: %q", err, b.console())
	}
}

func (b *tab) visit(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.rig.admin + path))
}

// console is what the browser's console said.
func (b *tab) console() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.said...)
}

// text is what a part of the page shows.
func (b *tab) text(css string) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf("(document.querySelector(%q) || {innerText: ''}).innerText", css))
}

func eval[T any](b *tab, js string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, env.Patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js))
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return v
}

// await waits until a part of the page shows text.
func (b *tab) await(css, pattern string) {
	b.t.Helper()
	env.Eventually(b.t, env.Patience, func() error {
		if text := b.text(css); !regexp.MustCompile(pattern).MatchString(text) {
			return fmt.Errorf("%s shows %q, want %s", css, text, pattern)
		}
		return nil
	})
}

// press presses keys, one after the other.
func (b *tab) press(keys ...string) {
	b.t.Helper()
	for _, key := range keys {
		b.do(chromedp.KeyEvent(key))
	}
}

// tabTo presses the tab key until the element has the focus.
func (b *tab) tabTo(css string) {
	b.t.Helper()
	for range 60 {
		b.press(kb.Tab)
		if eval[bool](b, fmt.Sprintf("document.activeElement.matches(%q)", css)) {
			return
		}
	}
	b.t.Fatalf("no way to %s by keyboard", css)
}

// agree answers the question before a change, and waits until it is made.
func (b *tab) agree(question, done string) {
	b.t.Helper()
	b.await("main", question)
	b.tabTo("main button")
	b.press(kb.Enter)
	b.await("main", done)
}

// accessible fails the test for each violation that axe finds.
func (b *tab) accessible(what, rules string) {
	b.t.Helper()
	eval[chromedp.Void](b, b.rig.axe+";undefined")
	ctx, cancel := context.WithTimeout(b.ctx, env.Patience)
	defer cancel()
	found, err := chromedp.Run(ctx, chromedp.Evaluate[json.RawMessage]("axe.run("+rules+").then(r => r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html + ' ' + n.failureSummary).join('; ')))", chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatal(err)
	}
	if string(found) != "[]" {
		b.t.Errorf("%s: %s", what, found)
	}
}

var dashboardPages = []string{
	"/", "/routes", "/cache?url=/lists/1", "/limits?limit=logins&key=127.0.0.1", "/sessions?user=42",
	"/explain?method=GET&url=/lists/1", "/config", "/purge?kind=tag&value=lists",
	"/purge?kind=tag&value=" + strings.Repeat("long", 80), "/cache?url=/lists/" + strings.Repeat("long", 80),
}

// Pages in a browser: each in light and dark, on a desk and on a phone, with axe-core, with its
// keyboard alone, without JavaScript, and as an outage comes and goes.
func TestDashboard(t *testing.T) {
	t.Parallel()
	rig := startDashboard(t)
	token, err := os.ReadFile(filepath.Join(filepath.Dir(rig.args[2]), "data", "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	signIn := strings.Replace(rig.admin, "http://", "http://operator:"+strings.TrimSpace(string(token))+"@", 1)
	t.Run("pages", func(t *testing.T) { rig.everyPage(t, signIn) })
	t.Run("keyboard", func(t *testing.T) { rig.byKeyboard(t, signIn) })
	t.Run("no script", func(t *testing.T) { rig.withoutScript(t, signIn) })
	t.Run("outage", rig.outage)
}

func (rig *dashboardRig) everyPage(t *testing.T, signIn string) {
	for _, scheme := range []string{"light", "dark"} {
		b := rig.open(t, 1200, scheme)
		b.do(chromedp.Navigate(signIn + "/reload"))
		backs := map[string]bool{}
		for _, path := range dashboardPages {
			b.do(chromedp.EmulateViewport(1200, 900))
			b.visit(path)
			b.await("#live", "(?i)live")
			b.accessible(scheme+" "+path, map[string]string{"light": "{}", "dark": "{runOnly: ['color-contrast']}"}[scheme]) // the rest is the same
			if problem := b.text(".problem"); problem != "" {
				t.Errorf("%s: %s", path, problem)
			}
			backs[eval[string](b, "getComputedStyle(document.body).backgroundColor")] = true
			b.do(chromedp.EmulateViewport(360, 800))
			if wide := eval[int](b, "document.documentElement.scrollWidth"); wide > 360 {
				t.Errorf("%s is %d pixels wide on a phone", path, wide)
			}
		}
		if dark := !backs["rgb(251, 251, 249)"]; dark != (scheme == "dark") || len(backs) != 1 {
			t.Errorf("%s: the background is %v", scheme, backs)
		}
	}
}

// byKeyboard purges a tag and ends a session without a pointer.
func (rig *dashboardRig) byKeyboard(t *testing.T, signIn string) {
	b := rig.open(t, 1200, "light")
	b.do(chromedp.Navigate(signIn + "/reload"))
	b.visit("/cache")
	b.press(kb.Tab)
	if got := eval[string](b, "document.activeElement.className"); got != "skip" {
		t.Errorf("the first stop is %q, not the link past the navigation", got)
	}
	if hit := rig.get("/lists/1").Header.Get("Cache-Status"); !strings.Contains(hit, "hit") {
		t.Fatalf("before the purge: %s", hit)
	}
	b.tabTo("#value")
	b.press("lists", kb.Enter)
	b.agree("Remove all responses with the tag lists from the cache of all gateways", "It is in force on all gateways")
	if miss := rig.get("/lists/1").Header.Get("Cache-Status"); !strings.Contains(miss, "uri-miss") {
		t.Errorf("after the purge: %s", miss)
	}

	b.visit("/sessions")
	b.tabTo("#user")
	b.press("42", kb.Enter)
	b.await("main table", "editor")
	if res := rig.get("/home", "Cookie", rig.cookie); res.StatusCode != http.StatusOK {
		t.Fatalf("before the end: %d", res.StatusCode)
	}
	b.visit("/sessions")
	b.tabTo("#whose")
	b.press("42", kb.Enter)
	b.agree("End all sessions of the user 42", "ended, on all gateways")
	if res := rig.get("/home", "Cookie", rig.cookie); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("after the end: %d", res.StatusCode)
	}

	b.visit("/limits?limit=logins&key=127.0.0.1")
	b.await("main", "0, whole in")
	b.tabTo("main a.button")
	b.press(kb.Enter)
	b.agree("all tokens of the limit logins", "The bucket is whole")
	audits := regexp.MustCompile(`"msg":"audit","call":"POST /(\w+)","what":"([^\n]*?)","from":"127[^"]*","status":200`).FindAllStringSubmatch(rig.stderr.String(), -1)
	var got []string
	for _, a := range audits {
		got = append(got, a[1]+" "+a[2])
	}
	if want := `purge {\"tags\":[\"lists\"]}; revoke {\"user\":\"42\"}; reset logins 127.0.0.1`; strings.Join(got, "; ") != want {
		t.Errorf("the audit has %s, want %s", strings.Join(got, "; "), want)
	}
}

func (rig *dashboardRig) withoutScript(t *testing.T, signIn string) {
	b := rig.open(t, 1200, "light")
	b.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	}))
	show := func(path, want string) {
		t.Helper()
		b.visit(path)
		ctx, cancel := context.WithTimeout(b.ctx, env.Patience)
		defer cancel()
		if text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("main"))); err != nil || !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("%s: %v, %s", path, err, text)
		}
	}
	b.do(chromedp.Navigate(signIn + "/reload"))
	show("/", `(?s)Requests.*Upstreams.*app`)
	show("/routes", `lists\s+GET /lists/\{id\}\s+gateway.yaml:\d+`)
	show("/cache?url=/lists/1", `Purge this URL`)
	show("/explain?method=GET&url=/lists/1", `(?s)What would happen.*lists`)
	show("/purge?kind=route&value=lists", "all responses of the route lists")
	b.do(chromedp.Submit(chromedp.CSS("main form")), chromedp.WaitVisible(chromedp.CSS(`main a[href^="/cache?purge="]`)))
}

func (rig *dashboardRig) outage(t *testing.T) {
	b := rig.open(t, 1200, "light")
	b.visit("/")
	b.await("#live", "(?i)live")
	if text := b.text("#banner"); text != "" {
		t.Errorf("before the outage there is a banner: %s", text)
	}
	eval[int](b, "window.unchanged = 1") // lost by a reload of the page
	rig.redis.Kill()
	b.await("#banner", `(?s)redis is away since.*limits: counted here.*sessions: the cookie, records in memory`)
	b.await("#redis", `redis:\s+(down|rejoining)`)
	rig.get("/lists/1")
	rig.do("POST", "/login", "")
	b.await("#banner", `To be told when it is back: records and logouts of sessions: \d+, requests that limits admitted: \d+\.`)
	b.accessible("during an outage", "{}")
	if *update {
		rig.screenshots(t)
	}
	rig.redis.Restart(true)
	b.await("#state", "ok")
	b.await("#banner", `^$`)
	before := b.text("#tiles")
	rig.traffic()
	env.Until(t, "the tiles change", func() bool { return b.text("#tiles") != before })
	if eval[int](b, "window.unchanged || 0") != 1 {
		t.Error("the page was loaded again")
	}
	b.do(chromedp.Click(chromedp.CSS("#pause")))
	b.await("#live", "Paused")
}

// screenshots are those of the documentation.
func (rig *dashboardRig) screenshots(t *testing.T) {
	for name, size := range map[string][2]int64{"dashboard": {1200, 1150}, "dashboard-phone": {390, 844}} {
		scheme := map[string]string{"dashboard": "light", "dashboard-phone": "dark"}[name]
		b := rig.open(t, size[0], scheme)
		b.do(chromedp.EmulateViewport(size[0], size[1]))
		b.visit("/")
		b.await("#live", "(?i)live")
		picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("../../docs/images/"+name+".png", picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
