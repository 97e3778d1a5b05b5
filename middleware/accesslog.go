package middleware

import (
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"net/http"
	"net/url"
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
		value := strings.Join(h[name], ", ")
		switch {
		case value == "":
			continue
		case rule.HiddenHeaders[name]:
			value = hidden
		case name == "Referer":
			value = redacted(value, rule.HiddenQuery)
		}
		list = append(list, slog.String(name, value))
	}
	return list
}

// redacted hides the user information of a URL, and the values of the query parameters in names, which
// are in lower case.
func redacted(uri string, names map[string]bool) string {
	if scheme, rest, ok := strings.Cut(uri, "://"); ok && !strings.ContainsAny(scheme, "/?") {
		authority := rest[:strings.IndexAny(rest+"/", "/?#")]
		if at := strings.LastIndexByte(authority, '@'); at >= 0 {
			uri = scheme + "://" + hidden + rest[at:]
		}
	}
	path, query, ok := strings.Cut(uri, "?")
	if !ok || len(names) == 0 {
		return uri
	}
	var b strings.Builder
	b.WriteString(path)
	for sep := "?"; ; {
		param, end := query, strings.IndexAny(query, "&;?#") // some backends separate by ; too
		if end >= 0 {
			param = query[:end]
		}
		name, _, valued := strings.Cut(param, "=")
		plain, err := url.QueryUnescape(name)
		if err != nil {
			plain = name
		}
		if valued && names[strings.ToLower(plain)] {
			param = name + "=" + hidden
		}
		b.WriteString(sep + param)
		if end < 0 {
			return b.String()
		}
		sep, query = query[end:end+1], query[end+1:]
	}
}

// ms converts to milliseconds with three decimals.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
