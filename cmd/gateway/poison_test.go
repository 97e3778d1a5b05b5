package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// poisonCase is what one client sends, and what another one gets of it later.
type poisonCase struct {
	sentence string
	first    []string // {n} is a part of paths that no other case has, {gw} the victim's session
	status   int      // of the last answer to first
	then     string   // another client's request: at each gateway
	want     int      // status of the answers to it
	mark     string   // of the first client, which the other must not get
	has      string   // what the other must get
	stored   bool     // the answer to first is stored, in an entry that the other does not get
	mild     bool     // the application would not fall for it, or the bytes do not reach it
}

const (
	evil   = "evil"
	secret = "the secret of the victim"
)

// poisonPolicy caches all that it can.
const poisonPolicy = `
version: 1
server: {data_dir: ./%[1]s, trusted_proxies: [192.0.2.1]}
session: {cookie: {name: gw, secure: false}, keys_file: ./session.keys, identity: {keys_file: ./identity.keys}}
%[2]s
upstreams: {app: {targets: [%[3]q]}}
routes:
  - {name: auth, match: {methods: [POST], path: "/auth/{verb}"}, upstream: app, session: optional, session_signal: true}
  - {name: account, match: {methods: [GET, HEAD], path: /account}, upstream: app, session: optional, cache: {ttl: 1h, key: [session]}}
  - {name: below, match: {methods: [GET, HEAD], path: "/account/{rest...}"}, upstream: app, session: required, cache: {ttl: 1h, key: [session]}}
  - {name: cached, match: {methods: [GET, HEAD], path: "/cached/{rest...}"}, upstream: app, cache: {ttl: 1h, query: {allow: [a, q]}}}
  - {name: learned, match: {methods: [GET, HEAD], path: "/learned/{rest...}"}, upstream: app, cache: {ttl: 1h}}
  - {name: params, match: {methods: [GET, HEAD], path: "/params/{rest...}"}, upstream: app, cache: {ttl: 1h}}
  - {name: user, match: {methods: [GET, HEAD], path: "/user/{id}"}, upstream: app, cache: {ttl: 1h, query: {allow: []}, vary: [Accept-Language]}}
  - {name: static, match: {methods: [GET, HEAD], path: "/static/{rest...}"}, upstream: app, cache: {ttl: 24h}}
  - {name: strict, match: {path: "/strict/{rest...}"}, upstream: app, cache: {mode: strict}}
  - {name: rest, match: {path: "/{rest...}"}, upstream: app, session: optional, cache: {mode: strict}}
`

// TestPoison sends what poisons caches, and what makes them tell secrets, to a Flask
// that falls for it. The gateway is tried alone, and as two that share a Redis.
func TestPoison(t *testing.T) {
	t.Parallel()
	cases := poisonCases()
	if t.Logf("%d cases", len(cases)); len(cases) < 250 {
		t.Fatal("that is too few")
	}
	flask := env.FlaskIn(t, "testdata/poison")
	t.Run("Flask falls for it", func(t *testing.T) {
		t.Parallel()
		s := &poisonSite{t: t, paths: "direct", session: "none"}
		eachPoison(cases, func(c *poisonCase, n int) { s.direct(c, n, flask) })
	})
	t.Run("in memory", func(t *testing.T) {
		t.Parallel()
		startPoison(t, flask, "", 1).run(cases)
	})
	t.Run("in Redis, of two gateways", func(t *testing.T) {
		t.Parallel()
		startPoison(t, flask, fmt.Sprintf("redis: {url: %q}", redisURL(t)), 2).run(cases)
	})
}

// poisonSite is the gateways of one site. The first clients talk to the first
// gateway, the others to the last one and then to the first.
type poisonSite struct {
	t        *testing.T
	gateways []*gatewayProcess
	session  string
	paths    string
	hits     atomic.Int32 // of the other clients, without which nothing can be poisoned
}

func startPoison(t *testing.T, flask, redis string, n int) *poisonSite {
	t.Helper()
	here, there := policyFolder(t)
	s := &poisonSite{t: t, paths: fmt.Sprint("of", n)}
	for i := range n {
		name := string(rune('a' + i))
		file := name + ".yaml"
		writePolicy(t, filepath.Join(here, file), fmt.Sprintf(poisonPolicy, name, redis, flask))
		own(t, here)
		s.gateways = append(s.gateways, start(t, nil, "run", "--config", filepath.Join(there, file)))
	}
	login := s.send(s.gateways[0].base, ask("POST", "/auth/login", "Content-Length: 0")) // for the victim's host alone
	_, cookie, _ := strings.Cut(login.text, "Set-Cookie:[")
	s.session, _, _ = strings.Cut(cookie, ";")
	return s
}

// eachPoison does something for all cases, some at a time.
func eachPoison(cases []poisonCase, do func(c *poisonCase, n int)) {
	var wg sync.WaitGroup
	room := make(chan struct{}, 8)
	for n := range cases {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			do(&cases[n], n)
		})
	}
	wg.Wait()
}

// run has all first clients before all others, so that Redis has what they left.
func (s *poisonSite) run(cases []poisonCase) {
	nonces := make([]string, len(cases))
	eachPoison(cases, func(c *poisonCase, n int) { nonces[n] = s.attack(c, n) })
	eachPoison(cases, func(c *poisonCase, n int) {
		for _, g := range slices.Backward(s.gateways) {
			s.others(c, n, g, nonces[n])
		}
	})
	if got, want := int(s.hits.Load()), 40*len(s.gateways); got < want {
		s.t.Errorf("only %d hits, want %d: the cases try nothing", got, want)
	}
}

// attack sends what comes first. It returns the nonce of the answer, if that has one.
func (s *poisonSite) attack(c *poisonCase, n int) (nonce string) {
	var a poisonAnswer
	for _, sent := range c.first {
		a = s.send(s.gateways[0].base, s.fill(sent, n))
	}
	if a.status != c.status {
		s.t.Errorf("%s: status %d of what comes first, want %d\n%s", c.sentence, a.status, c.status, a.text)
	}
	stored := strings.Contains(a.cache, "stored") || strings.Contains(a.cache, "hit")
	if c.mark == secret && strings.Contains(a.text, secret) && stored != c.stored {
		s.t.Errorf("%s: Cache-Status %q of a private response", c.sentence, a.cache)
	}
	_, nonce, _ = strings.Cut(a.text, "nonce ")
	return nonce
}

// others sends what comes then.
func (s *poisonSite) others(c *poisonCase, n int, g *gatewayProcess, nonce string) {
	sent := s.fill(c.then, n)
	a := s.send(g.base, sent)
	if strings.Contains(a.cache, "; hit") {
		s.hits.Add(1)
	}
	method, rest, _ := strings.Cut(sent, " ")
	path, _, _ := strings.Cut(rest, " ")
	path, _, _ = strings.Cut(path, "?")
	switch {
	case a.status != c.want:
		s.t.Errorf("%s: then status %d, want %d\n%s", c.sentence, a.status, c.want, a.text)
	case strings.Contains(a.text, c.mark) || nonce != "" && strings.Contains(a.text, nonce):
		s.t.Errorf("%s: the other client gets what is not its own, with Cache-Status %q\n%s", c.sentence, a.cache, a.text)
	case c.want == http.StatusOK && method == "GET" && !strings.Contains(a.text, "page "+path):
		s.t.Errorf("%s: no page, with Cache-Status %q\n%s", c.sentence, a.cache, a.text)
	case !strings.Contains(a.text, s.fill(c.has, n)):
		s.t.Errorf("%s: no %q, with Cache-Status %q\n%s", c.sentence, c.has, a.cache, a.text)
	}
}

// direct makes sure that the application is as careless as the case needs.
func (s *poisonSite) direct(c *poisonCase, n int, flask string) {
	if c.mild {
		return
	}
	a := s.send(flask, s.fill(c.first[len(c.first)-1], n))
	if !strings.Contains(a.text, c.mark) && (c.mark == secret || !strings.Contains(a.text, "nonce") && a.status < 400) {
		s.t.Errorf("%s: Flask does not fall for it: %d\n%s", c.sentence, a.status, a.text)
	}
}

// fill puts in what differs between the runs.
func (s *poisonSite) fill(text string, n int) string {
	return strings.NewReplacer("{n}", fmt.Sprintf("%d%s", n, s.paths), "{gw}", s.session, "{d}", fmt.Sprint(1000+n)).Replace(text)
}

// poisonAnswer is a response; text is all of it.
type poisonAnswer struct {
	status      int
	cache, text string
}

// send sends bytes on a connection of their own, and reads one answer.
func (s *poisonSite) send(base, sent string) poisonAnswer {
	fail := func(err error) poisonAnswer {
		s.t.Errorf("%.200q: %v", sent, err)
		return poisonAnswer{}
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // a miss shows below
	_, _ = io.WriteString(conn, sent)                      // it may be refused before its end
	method, _, _ := strings.Cut(sent, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return fail(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fail(err)
	}
	return poisonAnswer{res.StatusCode, res.Header.Get("Cache-Status"), fmt.Sprint(res.Header, "\n", string(body))}
}

// ask is a plain request, with fields.
func ask(method, target string, fields ...string) string {
	return method + " " + target + " HTTP/1.1\r\nHost: victim.test\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// poison is a GET of an attacker's, after which a victim asks for the same plainly.
func poison(sentence, target string, fields ...string) poisonCase {
	return poisonAs(sentence, target, target, fields...)
}

// poisonAs is poison with another target for the victim.
func poisonAs(sentence, target, victims string, fields ...string) poisonCase {
	return poisonBy(sentence, ask("GET", target, fields...), victims)
}

// poisonBy is poison with all the attacker's bytes.
func poisonBy(sentence, sent, victims string) poisonCase {
	return poisonCase{sentence: sentence, first: []string{sent}, status: 200, then: ask("GET", victims), want: 200, mark: evil}
}

// deceive is a request of the victim's, lured to a target, after which the attacker asks for the same.
func deceive(status, want int, sentence, target string, fields ...string) poisonCase {
	if len(fields) == 0 {
		fields = []string{"Cookie: sid=victim; {gw}"}
	}
	return poisonCase{sentence: sentence, first: []string{ask("GET", target, fields...)}, status: status, then: ask("GET", target), want: want, mark: secret}
}

// The variations of a case.
func (c poisonCase) harmless() poisonCase           { c.mild = true; return c }
func (c poisonCase) answered(status int) poisonCase { c.status = status; return c }
func (c poisonCase) marked(mark string) poisonCase  { c.mark = mark; return c }
func (c poisonCase) gets(text string) poisonCase    { c.has = text; return c }
func (c poisonCase) kept() poisonCase               { c.stored = true; return c }
func (c poisonCase) wants(status int) poisonCase    { c.want = status; return c }
func (c poisonCase) asks(sent string) poisonCase    { c.then = sent; return c }
func (c poisonCase) after(sent ...string) poisonCase {
	c.first = append(sent, c.first...)
	return c
}

// refusedHere is a case whose attack the gateway itself answers.
func (c poisonCase) refusedHere() poisonCase { return c.answered(400).harmless() }

func poisonCases() []poisonCase {
	groups := [][]poisonCase{
		poisonFields(), poisonStrict(), poisonConnections(), poisonLearned(), poisonHosts(), poisonBodies(),
		poisonQueries(), poisonErrors(), poisonConditions(), poisonKinds(), deceptions(), deceptionsElsewhere(),
	}
	var all []poisonCase
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

// poisonFields has the fields that are in no key, on routes of the policy's lifetimes and on strict ones.
func poisonFields() []poisonCase {
	var all []poisonCase
	for _, field := range []string{
		"X-Forwarded-Host: evil.test", "X-Forwarded-Proto: evil", "X-Forwarded-Port: evil", "X-Forwarded-Prefix: /evil", "X-Forwarded-Scheme: evil",
		"X-Forwarded-Server: evil.test", "X-Forwarded-For: evil", "X-Original-URL: /evil", "X-Original-Host: evil.test", "X-Rewrite-URL: /evil",
		"X-Host: evil.test", "Forwarded: host=evil.test", "X-HTTP-Method-Override: EVIL-evil", "X-HTTP-Method: evil", "X-Method-Override: evil",
		"X-Script-Name: /evil", "X-Real-IP: evil", "Origin: http://evil.test", "Referer: http://evil.test/", "User-Agent: evil", "Cookie: lang=evil",
		"Accept-Language: evil", "Accept: text/evil", "X-Custom: evil", "X_Custom: evil", "X-Forwarded_Host: evil.test", "Cache-Control: no-cache, evil",
		"Pragma: evil", "Content-Type: text/evil", "Via: 1.1 evil", "X-Request-Id: evil", "Traceparent: evil", "DNT: evil", "Save-Data: evil",
		"Sec-Fetch-Site: evil", "Upgrade-Insecure-Requests: evil", "X-Requested-With: evil", "Accept-Encoding: evil", "Accept-Charset: evil",
	} {
		name, _, _ := strings.Cut(field, ":")
		all = append(all, poison(name+" is in no key", "/cached/{n}", field))
	}
	return append(
		all,
		poison("a converter's page is keyed alike", "/user/{d}", "X-Custom: evil", "X-Forwarded-Host: evil.test"),
		poison("a field twice", "/cached/{n}", "X-Custom: one", "X-Custom: evil"),
		poison("a forwarded host twice", "/cached/{n}", "X-Forwarded-Host: victim.test", "X-Forwarded-Host: evil.test"),
		poison("two lines of cookies", "/cached/{n}", "Cookie: a=1", "Cookie: sid=evil"),
		poison("a cookie that breaks a page", "/cached/{n}", "Cookie: a=broken; sid=evil"),
		poison("a language that the route varies by", "/user/{d}", "Accept-Language: evil"),
		poison("a language that the victim has too, beside others", "/user/{d}", "Accept-Language: en, evil").asks(ask("GET", "/user/{d}", "Accept-Language: en")).gets("Accept-Language: en"),
	)
}

// poisonStrict has the fields on a strict route: it sends on what the client sent, but for what speaks for proxies.
func poisonStrict() []poisonCase {
	var all []poisonCase
	for _, field := range []string{
		"X-Forwarded-Host: evil.test", "X-Forwarded-Proto: evil", "X-Forwarded-Prefix: /evil", "X-Forwarded-Server: evil.test", "X-Original-URL: /evil",
		"X-Host: evil.test", "Forwarded: host=evil.test", "X-HTTP-Method-Override: evil", "X-Rewrite-URL: /evil", "X_Forwarded_Host: evil.test",
		"Origin: http://evil.test", "Referer: http://evil.test/", "User-Agent: evil", "Cookie: lang=evil", "Accept-Language: evil", "X-Custom: evil",
		"X_Custom: evil", "Accept: text/evil", "Accept-Encoding: evil",
	} {
		name, _, _ := strings.Cut(field, ":")
		all = append(all, poison(name+" on a strict route", "/strict/{n}", field))
	}
	return append(
		all,
		poison("a field twice, by which the page varies", "/strict/{n}", "X-Custom: one", "X-Custom: evil").asks(ask("GET", "/strict/{n}", "X-Custom: one")),
		poison("a comma in place of a second field", "/strict/{n}", "X-Custom: one, evil").asks(ask("GET", "/strict/{n}", "X-Custom: one")),
		poison("two lines of cookies, by which the page varies", "/strict/{n}", "Cookie: a=1", "Cookie: b=evil").asks(ask("GET", "/strict/{n}", "Cookie: a=1")),
		poison("an underscore in place of a field by which the page varies", "/strict/{n}", "X_Custom: evil", "X-Custom: one").asks(ask("GET", "/strict/{n}", "X-Custom: one")),
	)
}

// poisonConnections has fields of one connection, by which a client removes others.
func poisonConnections() []poisonCase {
	plain := func(path string, fields ...string) string { return ask("GET", path, fields...) }
	return []poisonCase{
		poison("Connection cannot remove the host", "/cached/{n}", "Connection: Host, X-Forwarded-Host", "X-Host: evil").gets("host victim.test"),
		poison("Connection cannot remove what the gateway says", "/strict/{n}", "Connection: X-Forwarded-Host, X-Forwarded-Proto", "X-Forwarded-Host: evil").gets("link http://victim.test/"),
		poison("Connection removes a field by which the page varies", "/strict/{n}", "Connection: Accept-Language", "Accept-Language: en", "X-Host: evil").asks(plain("/strict/{n}", "Accept-Language: en")).gets("Accept-Language: en"),
		poison("Connection removes the cookies by which the page varies", "/strict/{n}", "Connection: Cookie", "Cookie: a=1", "X-Host: evil").asks(plain("/strict/{n}", "Cookie: a=1")).gets("Cookie: a=1"),
		poison("Connection removes a field by which the route varies", "/user/{d}", "Connection: Accept-Language", "Accept-Language: en", "X-Host: evil").asks(plain("/user/{d}", "Accept-Language: en")).gets("Accept-Language: en"),
		poison("a field of the connection of its own", "/strict/{n}", "Connection: X-Custom, close", "X-Custom: evil"),
		poison("Keep-Alive and TE", "/cached/{n}", "Keep-Alive: evil", "TE: evil", "Connection: TE"),
		poison("an upgrade", "/cached/{n}", "Connection: Upgrade", "Upgrade: evil"),
		poison("an upgrade to HTTP/2", "/strict/{n}", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: evil", "X-Custom: evil"),
		poison("Max-Forwards", "/cached/{n}", "Max-Forwards: 0", "X-Custom: evil"),
	}
}

// poisonLearned has fields that the gateway learns from Vary: it sends them on the whole route from then on.
func poisonLearned() []poisonCase {
	learn := func(sentence, name string) poisonCase {
		field := name + ": evil"
		if name == "Cookie" {
			field = "Cookie: lang=evil"
		}
		teach := ask("GET", "/learned/how/vary-"+name+"/{n}", field)
		return poison(sentence, "/learned/{n}", field).after(teach, teach)
	}
	return []poisonCase{
		learn("a field that another page varies by", "X-Custom"),
		learn("a field that no page reads", "X-Weird"),
		learn("a language", "Accept-Language"),
		learn("the referrer", "Referer"),
		learn("all cookies", "Cookie"),
		learn("the agent", "User-Agent"),
		poison("a page that varies by a weird field", "/cached/how/vary-X-Odd/{n}", "X-Odd: evil"),
		poison("a page that varies by a field of the gateway's", "/cached/how/vary-X-Forwarded-Host/{n}", "X-Forwarded-Host: evil.test"),
		poison("a page that varies by one on a strict route", "/strict/how/vary-X-Forwarded-Host/{n}", "X-Forwarded-Host: evil.test"),
		poison("a page that varies by a name with an underscore", "/cached/how/vary-X_Custom/{n}", "X_Custom: evil"),
	}
}

// poisonHosts has hosts that the victim does not ask for.
func poisonHosts() []poisonCase {
	on := func(host, target string) string { return "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n" }
	with := func(sentence, host, mark string) poisonCase {
		return poisonBy(sentence, on(host, "/cached/{n}"), "/cached/{n}").marked(mark).gets("link http://victim.test/cached/{n}")
	}
	return []poisonCase{
		with("a host of the attacker's", "evil.test", evil),
		with("the host with a port", "victim.test:1337", ":1337"),
		with("the host with the port of the scheme", "victim.test:80", ":80"),
		with("the host with that port and a zero", "victim.test:080", ":080"),
		with("the host with an empty port", "victim.test:", "victim.test:"),
		with("the host in capitals", "VICTIM.test", "VICTIM"),
		with("the host with a final dot", "victim.test.", "victim.test."),
		with("two hosts in one", "victim.test, evil.test", evil).refusedHere(),
		with("user information in it", "evil@victim.test", evil).refusedHere(),
		with("a path in it", "victim.test/evil", evil).refusedHere(),
		poisonBy("an absolute target overrules Host", on("evil.test", "http://victim.test/cached/{n}"), "/cached/{n}").gets("link http://victim.test/cached/{n}"),
		poisonBy("the same on a strict route", on("evil.test", "http://victim.test/strict/{n}"), "/strict/{n}").gets("link http://victim.test/strict/{n}"),
		poisonBy("an absolute target of the attacker's", on("victim.test", "http://evil.test/cached/{n}"), "/cached/{n}").harmless(),
		poisonBy("an absolute target in capitals", on("victim.test", "HTTP://VICTIM.test/cached/{n}"), "/cached/{n}").marked("VICTIM").harmless(),
		poisonBy("an absolute target of another scheme", on("victim.test", "https://victim.test/cached/{n}"), "/cached/{n}").marked("https:").harmless(),
		poisonBy("no host, in HTTP/1.0", "GET /cached/{n} HTTP/1.0\r\nX-Host: evil.test\r\n\r\n", "/cached/{n}").gets("host victim.test"),
		poisonBy("two Hosts", ask("GET", "/cached/{n}", "Host: evil.test"), "/cached/{n}").refusedHere(),
		poisonBy("a redirect to the attacker's host", on("evil.test", "/cached/slash/{n}"), "/cached/slash/{n}").answered(308).wants(308),
		poison("a redirect to a forwarded host", "/cached/slash/{n}", "X-Forwarded-Host: evil.test").answered(308).wants(308).harmless(),
		poisonAs("a redirect with a parameter of the attacker's", "/cached/slash/{n}?utm_source=evil", "/cached/slash/{n}").answered(308).wants(308),
	}
}

// poisonBodies has bodies where none belongs, and methods that are not what they say.
func poisonBodies() []poisonCase {
	fat := func(sentence, path string) poisonCase {
		return poisonBy(sentence, ask("GET", path, "Content-Length: 6")+"q=evil", path)
	}
	chunked := func(sentence, path string) poisonCase {
		return poisonBy(sentence, ask("GET", path, "Transfer-Encoding: chunked")+"6\r\nq=evil\r\n0\r\n\r\n", path)
	}
	form := "Content-Type: application/x-www-form-urlencoded"
	write := func(method, path string, fields ...string) poisonCase {
		sent := ask(method, path, append(fields, "Content-Length: 6")...) + "q=evil"
		return poisonBy(method+" of "+path+" "+strings.Join(fields, " "), sent, path)
	}
	return []poisonCase{
		fat("a GET with a body", "/cached/{n}"),
		fat("a GET with a body on a strict route", "/strict/{n}"),
		fat("a GET with a body on a route of all parameters", "/params/{n}"),
		fat("a GET with a body and a converter", "/user/{d}"),
		chunked("a GET with chunks", "/cached/{n}"),
		chunked("a GET with chunks on a strict route", "/strict/{n}"),
		poisonBy("a GET with a form", ask("GET", "/params/{n}?q=1", form, "Content-Length: 6")+"q=evil", "/params/{n}?q=1"),
		poisonBy("a GET whose body breaks the page", ask("GET", "/cached/{n}", "Content-Length: 6")+"broken", "/cached/{n}").answered(500),
		poisonBy("a GET whose body breaks a strict page", ask("GET", "/strict/{n}", "Content-Length: 6")+"broken", "/strict/{n}").answered(500),
		poisonBy("a GET with a trailer", ask("GET", "/cached/{n}", "Transfer-Encoding: chunked", "Trailer: X-Custom")+"0\r\nX-Custom: evil\r\n\r\n", "/cached/{n}").harmless(),
		poison("a GET with an empty body", "/cached/{n}", "Content-Length: 0", "X-Custom: evil"),
		poisonBy("a HEAD before a GET", ask("HEAD", "/cached/{n}", "X-Custom: evil"), "/cached/{n}").gets("method GET").harmless(),
		poisonBy("a HEAD with a body", ask("HEAD", "/cached/{n}", "Content-Length: 6")+"q=evil", "/cached/{n}").gets("method GET").harmless(),
		poisonBy("a HEAD before a GET on a strict route", ask("HEAD", "/strict/{n}", "X-Custom: evil"), "/strict/{n}").gets("method GET").harmless(),
		write("POST", "/cached/{n}", "X-HTTP-Method-Override: GET").gets("method GET"),
		write("POST", "/strict/{n}", "X-HTTP-Method-Override: GET").gets("method GET"),
		write("POST", "/strict/{n}", form).gets("method GET"),
		write("PUT", "/strict/{n}", form).gets("method GET"),
		write("PURGE", "/strict/{n}").gets("method GET"),
		write("QUERY", "/strict/{n}", form).gets("method GET"),
		write("QUERY", "/cached/{n}", form).gets("method GET"),
		poisonAs("another method by a parameter", "/cached/{n}?_method=evil", "/cached/{n}").gets("method GET"),
		poison("another method by a field", "/cached/{n}", "X-HTTP-Method-Override: POST", "X-Custom: evil").gets("method GET"),
	}
}

// poisonQueries has parameters that two readers could take for different ones.
func poisonQueries() []poisonCase {
	as := func(sentence, query, victims string) poisonCase {
		return poisonAs(sentence, "/cached/{n}"+query, "/cached/{n}"+victims)
	}
	all := func(sentence, query, victims string) poisonCase {
		return poisonAs(sentence, "/params/{n}"+query, "/params/{n}"+victims)
	}
	return []poisonCase{
		as("a parameter that the policy does not name", "?utm_source=evil", ""),
		as("the same beside one that it names", "?q=1&utm_source=evil", "?q=1").gets("parameter 'q' is '1'"),
		as("one without a value", "?evil", ""),
		as("a callback", "?callback=evil", ""),
		as("a callback beside one that it names", "?q=1&callback=evil", "?q=1"),
		as("a semicolon", "?q=1;utm_content=evil", "?q=1").refusedHere(),
		as("a semicolon in a parameter that is left out", "?utm_content=1;q=evil", "").refusedHere(),
		as("an escaped semicolon", "?q=1%3butm_content=evil", "?q=1"),
		as("a parameter twice", "?q=1&q=evil", "?q=1"),
		as("a parameter twice, the other way", "?q=evil&q=1", "?q=1"),
		as("an escaped name", "?%71=evil", "?q=1"),
		as("an escaped name for a victim without any", "?%71=evil", ""),
		as("an escaped name beside the plain one", "?q=1&%71=evil", "?q=1"),
		as("a name in capitals", "?Q=evil", ""),
		as("a list of PHP's", "?q[]=evil", ""),
		as("a list of PHP's in escapes", "?q%5b%5d=evil", ""),
		as("an empty pair between", "?q=1&&q=evil", "?q=1"),
		as("an escaped ampersand", "?q=1%26utm=evil", "?q=1"),
		as("an escaped equals sign", "?q%3devil", ""),
		as("a second question mark", "?q=1?q=evil", "?q=1"),
		as("a blank before the name", "?+q=evil", ""),
		as("a blank after the name", "?q%20=evil", ""),
		as("NUL after the name", "?q%00=evil", ""),
		as("a line end in a value", "?q=1%0d%0aX-Evil:evil", "?q=1"),
		as("an escape in the value of a victim", "?q=evil", "?q=%31").gets("parameter 'q' is '1'"),
		as("an empty value", "?q=&a=evil", "?q="),
		as("a value in place of another's", "?a=evil&q=1", "?q=1"),
		as("a fragment", "?q=1#evil", "?q=1").refusedHere(),
		all("a value of the attacker's", "?q=evil", "?q=1"),
		all("a callback of the attacker's", "?callback=evil", "?callback=mine").gets("'callback' is 'mine'"),
		all("a parameter twice of all", "?a=1&a=evil", "?a=1"),
		all("a pair in the value", "?a=1%26b%3devil", "?a=1"),
		all("another order with another value", "?b=evil&a=1", "?a=1&b=2"),
		all("a plus sign in place of a blank", "?a=1+evil", "?a=1"),
		all("no value, and an empty one", "?a&b=evil", "?a="),
		all("a semicolon of all", "?a=1;b=evil", "?a=1").refusedHere(),
		all("a malformed escape", "?a=%zzevil", "?a=1").refusedHere(),
		poisonAs("a route that takes no parameters", "/user/{d}?q=evil", "/user/{d}"),
	}
}

// poisonErrors has requests that are refused, here or there: the error is the attacker's alone (CPDoS).
func poisonErrors() []poisonCase {
	many := strings.Split(strings.Repeat("X-A: evil\n", 70)+"X-A: evil", "\n")
	long := strings.Repeat("a", 7000)
	cpdos := func(status int, sentence, path string, fields ...string) poisonCase {
		return poison(sentence, path, fields...).answered(status)
	}
	return []poisonCase{
		cpdos(200, "a field that breaks the page", "/cached/{n}", "X-Custom: broken, evil"),
		cpdos(400, "a field that breaks a strict page", "/strict/{n}", "X-Custom: broken, evil"),
		cpdos(200, "a long field", "/cached/{n}", "X-Big: evil"+long),
		cpdos(200, "a long cookie", "/cached/{n}", "Cookie: a=evil"+long),
		cpdos(200, "a long language", "/cached/{n}", "Accept-Language: evil"+long),
		cpdos(431, "a longer field", "/cached/{n}", "X-Big: evil"+long+long).harmless(),
		cpdos(431, "a longer field on a strict route", "/strict/{n}", "X-Big: evil"+long+long).harmless(),
		cpdos(400, "a long cookie on a strict route", "/strict/{n}", "Cookie: a=evil"+long),
		cpdos(200, "many fields", "/cached/{n}", many...),
		cpdos(200, "many fields on a strict route", "/strict/{n}", many...).harmless(),
		cpdos(431, "too many fields", "/cached/{n}", append(many, many...)...).harmless(),
		cpdos(400, "a control character", "/cached/{n}", "X-Custom: evil\x01").harmless(),
		cpdos(400, "a malformed name", "/cached/{n}", "X[evil]: evil").harmless(),
		cpdos(417, "an expectation", "/cached/{n}", "Expect: evil").harmless(),
		cpdos(400, "a status of the attacker's", "/strict/{n}", "X-Status: 400"),
		cpdos(404, "not found, by the attacker's field", "/strict/{n}", "X-Status: 404"),
		cpdos(403, "forbidden, by the attacker's field", "/strict/{n}", "X-Status: 403"),
		cpdos(429, "too many, by the attacker's field", "/strict/{n}", "X-Status: 429"),
		cpdos(500, "a failure, by the attacker's field", "/strict/{n}", "X-Status: 500"),
		cpdos(503, "another one", "/strict/{n}", "X-Status: 503"),
		cpdos(301, "a redirect, by the attacker's field", "/strict/{n}", "X-Status: 301"),
		cpdos(200, "a status, where the field is not sent", "/cached/{n}", "X-Status: 404"),
		poisonAs("a target that is too long", "/cached/{n}?utm=evil"+long, "/cached/{n}").answered(414).harmless(),
	}
}

// poisonConditions has ranges and conditions: what they select is one client's.
func poisonConditions() []poisonCase {
	both := func(sentence string, managed, strict int, fields ...string) []poisonCase {
		a := poison(sentence, "/cached/{n}", append(fields, "X-Custom: evil")...).answered(managed)
		b := poison(sentence+" on a strict route", "/strict/{n}", fields...).answered(strict)
		b.mild = !strings.Contains(strings.Join(fields, ""), evil) // it is in the same variant as the victim
		return []poisonCase{a, b}
	}
	var all []poisonCase
	for _, c := range [][]poisonCase{
		both("a range", 200, 200, "Range: bytes=0-3"),
		both("a range of no bytes", 200, 200, "Range: bytes=99999-"),
		both("a malformed range", 200, 200, "Range: bytes=evil"),
		both("a range that is malformed in part", 200, 200, "Range: bytes=0-3,evil"),
		both("a malformed range after a good one", 200, 200, "Range: bytes=0-3", "Range: bytes=evil"),
		both("a malformed range after an empty one", 200, 200, "Range:", "Range: bytes=evil"),
		both("a unit of the attacker's", 200, 200, "Range: evil=0-3"),
		both("many ranges", 200, 200, "Range: bytes=0-0,1-1,2-2,3-3,4-4,0-0,1-1,2-2,3-3,4-4"),
		both("a range with a condition", 200, 200, "Range: bytes=0-3", `If-Range: "evil"`),
		both("any entity tag", 304, 304, "If-None-Match: *"),
		both("a tag of the attacker's", 200, 200, `If-None-Match: "evil"`),
		both("a malformed tag", 200, 200, "If-None-Match: evil"),
		both("a condition that fails", 200, 200, `If-Match: "evil"`),
		both("a date", 304, 304, "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"),
		both("a malformed date", 200, 200, "If-Modified-Since: evil"),
		both("a date that fails", 200, 200, "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:01 GMT"),
		both("a coding with weights", 200, 200, "Accept-Encoding: br;q=0, evil;q=1, *;q=0"),
		both("a media type", 200, 200, "Accept: application/evil;q=1"),
		both("no identity", 200, 200, "Accept-Encoding: identity;q=0"),
	} {
		all = append(all, c...)
	}
	return all
}

// poisonKinds has responses that are of one request alone.
func poisonKinds() []poisonCase {
	var all []poisonCase
	for how, status := range map[string]int{"cookie": 200, "private": 200, "no-store": 200, "star": 200, "failed": 503, "limited": 429} {
		for _, route := range []string{"cached", "strict"} {
			if route == "strict" && status != 200 {
				continue // the application says that this may be stored
			}
			path := "/" + route + "/how/" + how + "/{n}"
			all = append(all, poison(how+": a response of one client on the route "+route, path, "X-Custom: evil").answered(status).wants(status))
		}
	}
	for _, route := range []string{"cached", "strict"} {
		path := "/" + route + "/how/unsaid/{n}"
		all = append(all, poison("a response to one who says who it is on the route "+route, path, "Authorization: Bearer evil"))
	}
	return all
}

// deceptions has targets at which the application tells a secret, and which look like something else.
func deceptions() []poisonCase {
	refused := func(sentence, target string) poisonCase { return deceive(400, 400, sentence, target).harmless() }
	return []poisonCase{
		deceive(200, 401, "the page itself", "/account").kept(),
		deceive(200, 401, "a name below it", "/account/{n}.css").kept(),
		deceive(200, 401, "a slash after it", "/account/").kept(),
		deceive(200, 401, "a name after it", "/account.{n}.css"),
		deceive(200, 401, "a blank after it", "/account%20{n}.css"),
		deceive(200, 401, "a tilde after it", "/account~{n}.css"),
		deceive(200, 401, "a comma after it", "/account,{n}.css"),
		deceive(200, 401, "an exclamation mark after it", "/account!{n}.css"),
		deceive(200, 401, "an escaped question mark", "/account%3f{n}.css"),
		deceive(200, 401, "an escaped number sign", "/account%23{n}.css"),
		deceive(200, 401, "an escaped escape", "/account%252f{n}.css"),
		deceive(200, 401, "a parameter", "/account?{n}.css").kept(),
		refused("a path parameter", "/account;{n}.css"),
		deceive(200, 401, "an escaped semicolon", "/account%3b{n}.css"),
		refused("an escaped slash", "/account%2f{n}.css"),
		refused("NUL", "/account%00{n}.css"),
		refused("a line end", "/account%0a{n}.css"),
		refused("a backslash", `/account\{n}.css`),
		refused("an escaped backslash", "/account%5c{n}.css"),
		refused("a number sign", "/account#{n}.css"),
		refused("two slashes", "//account"),
		refused("a dot segment", "/./account"),
		refused("a dot segment at its end", "/account/."),
		refused("a way out of a cached folder", "/cached/../account"),
		refused("the same with an escaped slash", "/static/..%2faccount"),
		refused("the same with escaped dots", "/static/%2e%2e/account"),
		refused("the same with a backslash", `/static/..\account`),
		refused("the same with an escaped backslash", "/cached/..%5caccount"),
		refused("a way into a cached folder", "/account/%2e%2e/static/{n}.css"),
		refused("the same with escaped slashes", "/account%2f..%2fstatic%2f{n}.css"),
		refused("a path parameter in a dot segment", "/static/..;/account"),
	}
}

// deceptionsElsewhere has secrets below folders that are cached for all.
func deceptionsElsewhere() []poisonCase {
	token := "Authorization: Bearer victim"
	return []poisonCase{
		deceive(401, 401, "a cookie is not sent to a cached folder", "/static/account.css"),
		deceive(401, 401, "nor to a page below it", "/cached/account/{n}"),
		deceive(401, 401, "nor to a name like a user's", "/user/me{n}"),
		deceive(200, 401, "a token passes a cached file", "/static/account.css", token),
		deceive(200, 401, "a token passes a cached page", "/cached/account/{n}", token),
		deceive(200, 401, "a token passes a user's page", "/user/me{n}", token),
		deceive(200, 401, "a token on a strict route", "/strict/account/{n}", token),
		deceive(200, 401, "a token in front of all", "/account.{n}.css", token),
		deceive(200, 401, "a cookie by which a strict page varies", "/strict/account/{n}").kept(),
		deceive(401, 401, "a cookie of the application's without a session", "/account?{n}", "Cookie: sid=victim").harmless(),
		deceive(401, 401, "a session without the application's cookie, at a name after it", "/account.css?{n}", "Cookie: {gw}").harmless(),
		deceive(401, 401, "a page below without a session", "/account/{n}.css", "Cookie: sid=victim").harmless(),
		deceive(200, 401, "a token of the page itself", "/account?{n}", token),
		deceive(200, 401, "a token and a session of the page itself", "/account?{n}", token, "Cookie: {gw}"),
		deceive(200, 401, "a range of a secret", "/account?{n}", "Range: bytes=0-100", "Cookie: {gw}").harmless().kept(),
	}
}
