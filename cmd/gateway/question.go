package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/jewgo/gateway/internal/warm"
	"github.com/jewgo/gateway/policy"
)

// question is a request that was not made.
type question struct {
	method  string
	tls     *bool  // nil: as the policy serves
	host    string // "": the policy's first
	target  string
	header  []string // lines
	client  netip.Addr
	session string // the beginning of an ID; "": what the header says
	ahead   time.Duration
	down    bool // Redis is

	// The upstream's response.
	status   int
	response http.Header
}

func (q *question) encrypted(s *policy.Snapshot) bool {
	if q.tls != nil {
		return *q.tls
	}
	return s.Policy.Server.TLS != nil
}

// request is the request as its connection's server makes it, without content. Its client is this machine.
func (q *question) request(ctx context.Context, s *policy.Snapshot) (*http.Request, error) {
	u, err := url.ParseRequestURI(q.target)
	if err != nil {
		return nil, err
	}
	r := &http.Request{
		Method: q.method, Host: q.host, RemoteAddr: "127.0.0.1:1", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RequestURI: q.target, URL: u,
		Header: http.Header{"User-Agent": {warm.UserAgent}, "Accept-Encoding": {"gzip"}}, Body: http.NoBody,
	}
	if q.encrypted(s) {
		r.TLS = &tls.ConnectionState{}
	}
	return r.WithContext(ctx), nil
}

// send writes the request as it arrives, as far as it is read. Its content, if the header says that there is any,
// is zeros.
func (q *question) send(to io.Writer) {
	lines := append([]string{q.method + " " + q.target + " HTTP/1.1", "Host: " + q.host}, q.header...)
	if _, err := io.WriteString(to, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		return
	}
	for _, line := range q.header {
		switch name, value, _ := parseField(line); {
		case strings.EqualFold(name, "Content-Length"):
			n, _ := strconv.ParseInt(value, 10, 64) // else it is refused
			_, _ = io.CopyN(to, zeros{}, n)
		case strings.EqualFold(name, "Transfer-Encoding"):
			_, _ = io.WriteString(to, "0\r\n\r\n")
		}
	}
}

// zeros is an endless reader.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// maxQuestion bounds the parts of a question, in bytes.
const maxQuestion = 64 << 10

// parseQuestion reads a question: method, url, header (repeated), client, session, at, redis, status
// and response (repeated).
func parseQuestion(query url.Values, s *policy.Snapshot, now time.Time) (*question, error) {
	known := []string{"method", "url", "header", "client", "session", "at", "redis", "status", "response"}
	for name, values := range query {
		switch {
		case !slices.Contains(known, name):
			return nil, fmt.Errorf("unknown parameter %q: there are %s", name, strings.Join(known, ", "))
		case len(values) > 1 && name != "header" && name != "response":
			return nil, fmt.Errorf("parameter %q is given twice", name)
		}
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n\x00") || len(v) > maxQuestion {
				return nil, fmt.Errorf("parameter %q has a line break, or is too long", name)
			}
		}
	}
	q := &question{method: query.Get("method"), session: query.Get("session"), client: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if !httpguts.ValidHeaderFieldName(q.method) { // both are tokens
		return nil, fmt.Errorf("method %q: want one such as GET", q.method)
	}
	if err := q.parseURL(query.Get("url"), s); err != nil {
		return nil, fmt.Errorf("url %q: %w", query.Get("url"), err)
	}
	hosted := false
	for _, line := range query["header"] {
		name, value, err := parseField(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("header %q: %w", line, err)
		case strings.EqualFold(name, "Host") && !hosted: // another one makes it malformed
			q.host, hosted = value, true
		default:
			q.header = append(q.header, line)
		}
	}
	if text := query.Get("client"); text != "" {
		client, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("client %q: want an IP address", text)
		}
		q.client = client
	}
	if text := query.Get("at"); text != "" {
		ahead, err := parseAt(text, now)
		if err != nil {
			return nil, err
		}
		q.ahead = ahead
	}
	if text := query.Get("redis"); text != "" && text != "down" {
		return nil, fmt.Errorf("redis %q: only down can be assumed", text)
	}
	q.down = query.Get("redis") == "down"
	return q, q.parseResponse(query)
}

// parseURL reads a path, or an http or https URL. The target stays as it is.
func (q *question) parseURL(text string, s *policy.Snapshot) error {
	target := text
	if scheme, rest, ok := strings.Cut(text, "://"); ok && !strings.HasPrefix(text, "/") {
		if scheme != "http" && scheme != "https" {
			return fmt.Errorf("the scheme %q is not served", scheme)
		}
		if q.tls = new(scheme == "https"); !*q.tls && s.Policy.Server.TLS != nil {
			return errors.New("the policy serves HTTPS: plain HTTP gets no further than server.tls.redirect")
		}
		end := strings.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		if q.host, target = rest[:end], rest[end:]; q.host == "" || !strings.HasPrefix(target, "/") {
			target = "/" + target
		}
	}
	target, _, _ = strings.Cut(target, "#") // clients keep it
	switch {
	case !strings.HasPrefix(target, "/") && target != "*":
		return fmt.Errorf("want a path such as /api/restaurants?page=1, or an http:// or https:// URL")
	case strings.ContainsFunc(target, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return fmt.Errorf("a space or control character must be escaped, as %%20")
	}
	q.target = target
	if q.host == "" {
		q.host = usualHost(&s.Policy.Server)
	}
	return nil
}

// usualHost is the Host that clients send: the first of the policy's or, where that names this machine, with the port
// of the first address.
func usualHost(p *policy.Server) string {
	host := "localhost"
	if len(p.Hosts) > 0 {
		host = p.Hosts[0]
	}
	ip, _ := netip.ParseAddr(host)
	if ip.Is6() {
		host = "[" + host + "]"
	}
	_, text, _ := net.SplitHostPort(p.Listen[0]) // of a socket, what follows is no number
	usual := map[bool]uint64{true: 443, false: 80}[p.TLS != nil]
	if port, err := strconv.ParseUint(text, 10, 16); err == nil && port != 0 && port != usual && (host == "localhost" || ip.IsLoopback()) {
		return fmt.Sprintf("%s:%d", host, port)
	}
	return host
}

func parseField(line string) (name, value string, err error) {
	name, value, ok := strings.Cut(line, ":")
	if value = strings.TrimSpace(value); !ok || !httpguts.ValidHeaderFieldName(name) {
		return "", "", fmt.Errorf("want NAME: VALUE")
	}
	return name, value, nil
}

// maxAhead bounds how far ahead a question may be: clocks of limits and caches overflow after some 250 years.
const maxAhead = 10 * 365 * 24 * time.Hour

// parseAt reads a time, or a duration from now, and returns how far ahead it is.
func parseAt(text string, now time.Time) (time.Duration, error) {
	ahead, err := readAhead(text, now)
	if err == nil && ahead > maxAhead {
		err = fmt.Errorf("at %q: that is more than ten years ahead", text)
	}
	return ahead, err
}

func readAhead(text string, now time.Time) (time.Duration, error) {
	if ahead, err := time.ParseDuration(strings.TrimPrefix(text, "+")); err == nil && ahead >= 0 {
		return ahead, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, fmt.Errorf("at %q: want a duration from now such as +90s, or a time such as %s", text, now.UTC().Format(time.RFC3339))
	}
	if ahead := at.Sub(now); ahead > -time.Second {
		return max(ahead, 0), nil
	}
	return 0, fmt.Errorf("at %q: it is past, and what the stores had then is not known", text)
}

// parseResponse reads what the upstream is assumed to answer: 200 with no field that concerns a
// cache, if the question says nothing.
func (q *question) parseResponse(query url.Values) error {
	q.status, q.response = http.StatusOK, http.Header{}
	if text := query.Get("status"); text != "" {
		status, err := strconv.Atoi(text)
		if err != nil || status < 200 || status > 599 {
			return fmt.Errorf("status %q: want one from 200 to 599", text)
		}
		q.status = status
	}
	for _, line := range query["response"] {
		name, value, err := parseField(line)
		if err != nil || !httpguts.ValidHeaderFieldValue(value) {
			return fmt.Errorf("response %q: want NAME: VALUE", line)
		}
		q.response.Add(name, value)
	}
	if q.response.Get("Content-Type") == "" {
		q.response.Set("Content-Type", "application/json")
	}
	return nil
}
