package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/websocket"

	"github.com/jewgo/gateway/test/env"
)

// startFlaskPage serves the example of docs/flask.md as the page does, and types its lines.
func startFlaskPage(t *testing.T, vars ...string) (g *gatewayProcess, page string, enter func(line string) string) {
	t.Helper()
	page = document(t, "flask.md")
	dir := t.TempDir()
	flask := env.FlaskIn(t, "../../examples/flask", append(vars, "IDENTITY_KEYS="+filepath.Join(dir, "identity.keys"))...)
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(page)
	shipped, err := os.ReadFile("../../examples/flask/gateway.yaml")
	if err != nil || block == nil || block[1] != string(shipped) {
		t.Fatalf("the page does not show examples/flask/gateway.yaml as it is: %v", err)
	}
	file := filepath.Join(dir, "gateway.yaml")
	writePolicy(t, file, strings.ReplaceAll(block[1], "http://127.0.0.1:5000", flask))
	g = start(t, nil, "run", "--config", file)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("http://127.0.0.1:5000", flask, "http://127.0.0.1:8080", g.base)
	program := regexp.MustCompile(`^gateway `)
	return g, page, func(line string) string { return shell(t, dir, program.ReplaceAllString(here.Replace(line), path+" ")) }
}

// The commands of docs/flask.md, in front of a real gunicorn.
func TestFlaskPage(t *testing.T) {
	t.Parallel()
	g, page, enter := startFlaskPage(t)
	commands := 0
	for _, block := range consoles(page) {
		commands += typed(t, block, enter)
	}
	if commands != 20 {
		t.Errorf("%d commands were tried", commands)
	}
	g.stderr.await(t, `"route":"greeting"`) // the warning of Vary: Cookie

	// Neither an empty token nor letters of other alphabets are anything but a refusal.
	for path, form := range map[string]string{"/basket": "product=tea&csrf=", "/login": "user=dina&password=%D7%A1"} {
		if a := g.do("POST", path, form, "Content-Type", "application/x-www-form-urlencoded"); a.StatusCode != 400 && a.StatusCode != 401 {
			t.Errorf("%s %s: %s", path, form, a.Status)
		}
	}
	// A user who is logged in speaks over a WebSocket.
	cookie := g.do("POST", "/login", "user=dina&password=secret", "Content-Type", "application/x-www-form-urlencoded").Cookies()[0]
	config, err := websocket.NewConfig("ws"+strings.TrimPrefix(g.base, "http")+"/chat", g.base)
	if err != nil {
		t.Fatal(err)
	}
	config.Header.Set("Cookie", cookie.String())
	ws, err := websocket.DialConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	for _, word := range []string{"shalom", strings.Repeat("long ", 4000)} {
		var got string
		if err := websocket.Message.Send(ws, word); err != nil {
			t.Fatal(err)
		}
		if err := websocket.Message.Receive(ws, &got); err != nil || got != "dina: "+word {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// The sections of docs/flask.md on Flask's own session hold with Flask-Session too.
func TestFlaskSessionStaysInTheGateway(t *testing.T) {
	t.Parallel()
	_, page, enter := startFlaskPage(t, "FLASK_SESSION_TYPE=filesystem", "FLASK_SESSION_FILE_DIR="+t.TempDir())
	_, section, _ := strings.Cut(page, "## Keep Flask's own session")
	section, _, _ = strings.Cut(section, "## Cache")
	commands := 0
	for _, block := range consoles(section) {
		commands += typed(t, block, enter)
	}
	if commands != 5 {
		t.Errorf("%d commands were tried", commands)
	}
}

func TestFlaskPageShowsTheShim(t *testing.T) {
	t.Parallel()
	page := document(t, "flask.md")
	shim, err := os.ReadFile("../../examples/flask/identity.py")
	_, code, _ := strings.Cut(string(shim), "\n\"\"\"\n\n")
	if err != nil || code == "" || !strings.Contains(page, code) {
		t.Error("docs/flask.md does not show identity.py as it is")
	}
}

// Each row of docs/flask.md about X-Gw-Session: what a header that is not obeyed is answered in the log.
func TestSignalsInFlaskPage(t *testing.T) {
	t.Parallel()
	page := document(t, "flask.md")
	_, table, _ := strings.Cut(page, "| Because | The header was, for example |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Gw-Session"] = r.URL.Query()["say"]
	}))
	t.Cleanup(upstream.Close)
	rows := regexp.MustCompile("(?m)^\\| `(.*?)` \\| (.*?) \\|$").FindAllStringSubmatch(table, -1)
	if len(rows) != 11 {
		t.Fatalf("%d rows in:\n%s", len(rows), table)
	}
	for _, row := range rows {
		because, header := row[1], strings.Trim(row[2], "`")
		said, signal := []string{header}, ", session: optional, session_signal: true"
		switch header {
		case "two headers in one response":
			said = []string{"logout", "logout"}
		case "any, where the route lacks `session_signal: true":
			said, signal = []string{"logout"}, ""
		}
		here, there := policyFolder(t)
		policy := strings.Replace(smallPolicy, ", upgrade: [websocket]", signal, 1)
		writePolicy(t, filepath.Join(here, "gateway.yaml"), strings.Replace(policy, "%q", `"`+upstream.URL+`"`, 1))
		own(t, here)
		g := start(t, nil, "run", "--config", filepath.Join(there, "gateway.yaml"))
		if a := g.get("/?" + url.Values{"say": said}.Encode()); a.StatusCode != 200 || a.Header.Get("X-Gw-Session") != "" || len(a.Cookies()) > 0 {
			t.Errorf("%q: %s %v", said, a.Status, a.Header)
		}
		g.stderr.await(t, `"because":"`+because+`"`)
		g.signal(15)
	}
}
