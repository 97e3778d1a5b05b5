package middleware

import (
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

// logged reports whether the policy wants a log line for a request. Sampling depends on the request
// ID, so that chained gateways log the same requests.
func logged(ex *exchange.Exchange) bool {
	shares := ex.Snapshot.Log.Shares
	if ex.Route != nil {
		shares = ex.Route.Logged
	}
	if shares == nil {
		return true
	}
	h := sha256.Sum256([]byte(ex.RequestID))
	return shares.Logs(ex.Facts.Status, binary.BigEndian.Uint32(h[:]))
}

// attrs are the fields of the access log. Empty ones are left out, except in the first block.
func attrs(ex *exchange.Exchange, r *http.Request, took time.Duration) []slog.Attr {
	f, rule := &ex.Facts, &ex.Snapshot.Log
	route := ""
	if ex.Route != nil {
		route = ex.Route.Name
	}
	a := []slog.Attr{
		slog.String("request_id", ex.RequestID),
		slog.String("client", ex.View.Client.String()),
		slog.String("method", r.Method),
		slog.String("host", r.Host),
		slog.String("uri", redacted(r.RequestURI, rule.HiddenQuery)),
		slog.String("proto", r.Proto),
		slog.Int("status", f.Status),
		slog.String("route", route),
		slog.Float64("duration_ms", ms(took)),
		slog.Int64("bytes_in", f.BytesIn),
		slog.Int64("bytes_out", f.BytesOut),
	}
	text := func(key, value string) {
		if value != "" {
			a = append(a, slog.String(key, value))
		}
	}
	text("cache", f.Cache)
	text("tier", f.Tier)
	text("not_stored", f.NotStored)
	text("limit", f.Limit)
	text("session", f.Session)
	if f.Target != "" {
		a = append(a, slog.String("upstream", f.Target), slog.Int("upstream_status", f.UpstreamCode),
			slog.Float64("upstream_ms", ms(f.UpstreamTime)))
	}
	if f.Retries > 0 {
		a = append(a, slog.Int("retries", f.Retries))
	}
	if f.Limited {
		a = append(a, slog.Bool("limited", true))
	}
	if f.Local {
		a = append(a, slog.Bool("local", true))
	}
	text("reason", f.Reason)
	text("trace_id", ex.TraceID())
	text("user_agent", r.UserAgent())
	if headers := loggedHeaders(rule, r.Header); len(headers) > 0 {
		a = append(a, slog.GroupAttrs("headers", headers...))
	}
	return a
}

// hidden replaces what may be secret.
const hidden = "REDACTED"

func loggedHeaders(rule *policy.LogRule, h http.Header) (list []slog.Attr) {
	for _, name := range rule.Headers {
		value := redacted(strings.Join(h[name], ", "), rule.HiddenQuery)
		switch {
		case value == "":
			continue
		case rule.HiddenHeaders[name]:
			value = hidden
		}
		list = append(list, slog.String(name, value))
	}
	return list
}

// userInfo is that of a URL, also of one that is escaped within another.
var userInfo = regexp.MustCompile(`((?::|%3[aA])(?:/|%2[fF]){2})[^/?#&;\s]*(@|%40)`)

// redacted hides the user information of URLs, and the values of the parameters in names, which are in
// lower case: in a query, a path or a fragment, and in those of a URL that is escaped within another.
func redacted(uri string, names map[string]bool) string {
	if strings.Contains(uri, "@") || strings.Contains(uri, "%40") {
		uri = userInfo.ReplaceAllString(uri, "${1}"+hidden+"${2}")
	}
	if !strings.ContainsAny(uri, "=%") {
		return uri
	}
	var b strings.Builder
	kept := 0 // what is before was written to b
	for at := 0; at < len(uri); {
		end, after := cutAt(uri[at:], "?;&#")
		param := uri[at : at+end]
		if i, value := cutAt(param, "="); i < len(param) && named(param[:i], names) {
			b.WriteString(uri[kept:at+value] + hidden)
			kept = at + end
		}
		at += after
	}
	if kept == 0 {
		return uri
	}
	return b.String() + uri[kept:]
}

// cutAt returns where the first of some characters, or its escape, begins and ends; without one, the
// length of s.
func cutAt(s, of string) (begin, end int) {
	for i := range len(s) {
		if strings.IndexByte(of, s[i]) >= 0 {
			return i, i + 1
		}
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil && strings.IndexByte(of, byte(c)) >= 0 {
				return i, i + 3
			}
		}
	}
	return len(s), len(s)
}

// named reports whether a parameter is one of names, or a member of it, or has a member that is, as in
// user[password] and password[].
func named(param string, names map[string]bool) bool {
	if plain, err := url.QueryUnescape(param); err == nil {
		param = plain
	}
	for part := range strings.FieldsFuncSeq(strings.ToLower(param), func(r rune) bool { return r == '[' || r == ']' }) {
		if names[part] {
			return true
		}
	}
	return false
}

// ms converts to milliseconds with three decimals.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
