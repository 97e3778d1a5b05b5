package middleware

import (
	"hash/fnv"
	"log/slog"
	"net/http"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
)

// sampleOneIn is the number of requests for each line of a sampled log.
const sampleOneIn = 100

// logged reports whether the policy wants a log line for a request. Sampling depends on the request
// ID, so that chained gateways log the same requests. Errors are always logged.
func logged(ex *exchange.Exchange) bool {
	switch ex.Snapshot.Policy.Log.Access {
	case "off":
		return false
	case "sampled":
		h := fnv.New32a()
		_, _ = h.Write([]byte(ex.RequestID)) // never fails
		return ex.Facts.Status >= 500 || h.Sum32()%sampleOneIn == 0
	}
	return true
}

// attrs are the fields of the access log. Empty ones are left out, except in the first block.
func attrs(ex *exchange.Exchange, r *http.Request, took time.Duration) []slog.Attr {
	f := &ex.Facts
	route := ""
	if ex.Route != nil {
		route = ex.Route.Name
	}
	a := []slog.Attr{
		slog.String("request_id", ex.RequestID),
		slog.String("client", ex.View.Client.String()),
		slog.String("method", r.Method),
		slog.String("host", r.Host),
		slog.String("uri", r.RequestURI),
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
	text("user_agent", r.UserAgent())
	return a
}

// ms converts to milliseconds with three decimals.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
