// Package admin serves the operator: health, metrics and the admin API. Its listener is never the
// one that clients reach. Reads from this machine need no token unless the policy says so. Those from
// elsewhere, or by way of a proxy, and changes always do, except over a unix socket, which is
// protected by the mode of its file.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/jewgo/gateway/internal/problem"
)

// Level is the health of a part of the gateway.
type Level int

// The levels. Degraded still serves everyone, so it counts as ready.
const (
	OK Level = iota
	Degraded
	NotReady
)

// String returns the level's name.
func (l Level) String() string { return [...]string{"ok", "degraded", "not ready"}[l] }

// Worst returns the level of all parts together.
func Worst(conditions []Condition) (worst Level) {
	for _, c := range conditions {
		worst = max(worst, c.Level)
	}
	return worst
}

// Condition is the state of one part.
type Condition struct {
	Name   string
	Level  Level
	Detail string // for a person
	// Serves says which feature is served from where, one per line.
	Serves []string
	// Warnings are lines about future problems. They do not change the Level.
	Warnings []string
}

// Config configures the admin handler. Conditions, Policy, Reload and Metrics are required. Pages of
// parts that are nil do not exist.
type Config struct {
	Token         string // bearer token for changes, and for reads from other machines
	TokenForReads bool   // from this machine too
	Address       string // of the listener, as in the policy: host:port or unix:/path
	Conditions    func() []Condition
	Policy        func() PolicyInForce
	Reload        func() error
	Metrics       http.Handler
	Limits        Limits
	Cache         Cache
	Purges        Purges
	Sessions      Sessions
	Warm          Warm
	Explain       func(ctx context.Context, question url.Values) (any, error)
	Status        func() any // with it come History and Routes, and the dashboard
	History       func() any
	Routes        func() any
	Redis         func(ctx context.Context) any // the JSON value of its page, within about a second
	Upstreams     func() any
	Log           *slog.Logger // gets a line for each change, made or refused; nil: none
}

// notRebound blocks DNS rebinding: a page whose name was changed to resolve to 127.0.0.1 has the
// same origin as this listener in an operator's browser. On loopback a request must name an
// address, localhost, or the host in the policy's address. One that names no host comes from no
// browser, but from the health check of a load balancer. Over a unix socket, which ssh may forward to
// a port, it may name anything without a dot too.
func (c *Config) notRebound(h http.Handler) http.Handler {
	own, _, _ := net.SplitHostPort(c.Address) // "": no name
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		_, notAddress := netip.ParseAddr(strings.Trim(host, "[]"))
		near := local != nil && local.IP.IsLoopback() || strings.HasPrefix(c.Address, "unix:") && strings.Contains(host, ".")
		if near && host != "" && notAddress != nil && !strings.EqualFold(host, "localhost") && !strings.EqualFold(host, own) {
			problem.Write(w, problem.Problem{Status: http.StatusMisdirectedRequest, Detail: "on loopback, call the admin listener by its address or as localhost"})
			return
		}
		h.ServeHTTP(w, r)
	})
}

// ofThisSite refuses what a page of another site asks for through an operator's browser, reads too: it
// could not see the answer, but cause work. A link on it may be followed.
func ofThisSite(h http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := *r
		if r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document" {
			asked.Method = http.MethodPost // protected methods are those that change something
		}
		if protection.Check(&asked) != nil {
			problem.Write(w, problem.Problem{Status: http.StatusForbidden, Detail: "a page of another site asked for this"})
			return
		}
		h.ServeHTTP(w, r)
	})
}

// proxied reports whether a request came by way of a proxy, and so perhaps from another machine.
func proxied(r *http.Request) bool {
	return slices.ContainsFunc([]string{"X-Forwarded-For", "Forwarded", "Via", "X-Real-Ip"}, func(name string) bool { return len(r.Header[name]) > 0 })
}

// isLocal reports whether only this machine can reach an address.
func isLocal(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// audited writes a line for each call.
func (c *Config) audited(h http.Handler) http.Handler {
	if c.Log == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &audited{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(a, r)
		c.Log.Info("audit", "call", r.Method+" "+r.URL.Path, "what", a.what, "from", r.RemoteAddr, "status", a.status)
	})
}

// authorized lets those call h who have the token. A browser sends it as the password of any user:
// only for its pages, since it does so whoever asks it to.
func (c *Config) authorized(h http.Handler, forBrowsers bool) http.Handler {
	unix := strings.HasPrefix(c.Address, "unix:")
	want := sha256.Sum256([]byte(c.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if unix && !proxied(r) {
			h.ServeHTTP(w, r)
			return
		}
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok && forBrowsers {
			_, token, ok = r.BasicAuth()
		}
		got := sha256.Sum256([]byte(token))
		if !ok || c.Token == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			detail := "this call needs the admin token"
			if ok {
				detail = "this is not the admin token"
			}
			challenge := `Bearer realm="gateway admin"`
			if forBrowsers {
				detail += ", as the password of any user: it is in server.admin_token_file, or in admin.token in the data_dir"
				challenge = `Basic realm="gateway admin: the token is the password", charset="UTF-8"`
			}
			w.Header().Set("WWW-Authenticate", challenge)
			problem.Write(w, problem.Problem{Status: http.StatusUnauthorized, Detail: detail})
			return
		}
		h.ServeHTTP(w, r)
	})
}

// redis answers with what is known of every Redis, available or not.
func (c *Config) redis(w http.ResponseWriter, r *http.Request) {
	document(w, http.StatusOK, c.Redis(r.Context()))
}

// readyz answers ok, degraded or not ready; ?verbose adds a line for each part.
func (c *Config) readyz(w http.ResponseWriter, r *http.Request) {
	conditions := c.Conditions()
	worst := Worst(conditions)
	var lines strings.Builder
	for _, cond := range conditions {
		fmt.Fprintf(&lines, "[%s] %s: %s\n", [...]string{"+", "~", "-"}[cond.Level], cond.Name, cond.Detail)
		for _, line := range cond.Serves {
			fmt.Fprintf(&lines, "    %s\n", line)
		}
		for _, line := range cond.Warnings {
			fmt.Fprintf(&lines, "[!] %s: %s\n", cond.Name, line)
		}
	}
	status := http.StatusOK
	if worst == NotReady {
		status = http.StatusServiceUnavailable
	}
	body := worst.String() + "\n"
	if r.URL.Query().Has("verbose") {
		body += lines.String()
	}
	text(w, status, body)
}

// The errors of the parts for requests that cannot be carried out.
var (
	ErrUnknown = errors.New("unknown") // there is nothing of that name
	ErrBad     = errors.New("bad request")
	ErrBusy    = errors.New("busy") // with another request of the same kind
)

// answered sends an answer, or the problem that err is.
func answered(w http.ResponseWriter, answer any, err error) {
	status := http.StatusServiceUnavailable
	switch {
	case err == nil:
		document(w, http.StatusOK, answer)
		return
	case errors.Is(err, ErrUnknown):
		status = http.StatusNotFound
	case errors.Is(err, ErrBad):
		status = http.StatusBadRequest
	case errors.Is(err, ErrBusy):
		status = http.StatusConflict
	}
	problem.Write(w, problem.Problem{Status: status, Detail: err.Error()})
}

func document(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // a value that JSON cannot encode is a bug here; the client gets no details
		problem.Write(w, problem.Problem{Status: http.StatusInternalServerError})
		return
	}
	send(w, status, "application/json", append(body, '\n'))
}

func text(w http.ResponseWriter, status int, body string) {
	send(w, status, "text/plain; charset=utf-8", []byte(body))
}

func send(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // it fails only if the client has gone
}
