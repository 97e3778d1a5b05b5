package middleware

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/policy"
)

// traceparent returns that of a request or, where the policy asks for it, a new one. "": none. What
// versions after 00 add is left out: a client could write anything there, and a shared response show
// it. A tracestate belongs to its own traceparent (Trace Context, 3.2.4 and 3.3).
func traceparent(h http.Header, trace *policy.Trace) string {
	if all := h["Traceparent"]; len(all) == 1 && wellFormedTrace(all[0]) {
		return "00" + all[0][len("00"):len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
	}
	delete(h, "Traceparent")
	delete(h, "Tracestate")
	if !trace.Make {
		return ""
	}
	var id [24]byte
	_, _ = rand.Read(id[:]) // never fails
	id[0] |= 1              // neither ID may be zero
	id[16] |= 1
	flags := "-00"
	// The last seven bytes of the trace ID are random, in every trace (Trace Context 2, 2.2.1).
	if float64(binary.BigEndian.Uint32(id[12:])) <= float64(trace.Sampled)*math.MaxUint32 && trace.Sampled > 0 {
		flags = "-01"
	}
	return "00-" + hex.EncodeToString(id[:16]) + "-" + hex.EncodeToString(id[16:]) + flags
}

// wellFormedTrace checks a traceparent (W3C Trace Context, 3.2.2). Versions after 00 may have more.
func wellFormedTrace(s string) bool {
	const size = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	if len(s) < size || len(s) > 2*size || len(s) > size && (s[:2] == "00" || s[size] != '-') || s[:2] == "ff" {
		return false
	}
	parts := strings.SplitN(s[:size], "-", 5)
	if len(parts) != 4 {
		return false
	}
	for i, n := range [...]int{2, 32, 16, 2} {
		if len(parts[i]) != n || strings.Trim(parts[i], "0123456789abcdef") != "" {
			return false
		}
	}
	return strings.Trim(parts[1], "0") != "" && strings.Trim(parts[2], "0") != ""
}

// asksForTiming reports whether the response gets Server-Timing.
func asksForTiming(h http.Header, s *policy.Server) bool {
	return s.Timing == "on" || s.Timing == "asked" && h.Get("Server-Timing") != ""
}

// timing tells in Server-Timing (W3C) how long the response's head took: in all, of that the
// upstream and Redis, and what the cache did. It stays behind what the upstream says itself.
type timing struct {
	ex     *exchange.Exchange
	budget *failover.Budget
	now    func() time.Time
}

// OnHeader implements HeaderHook.
func (t timing) OnHeader(status int, h http.Header) {
	if Interim(status) {
		return
	}
	f := &t.ex.Facts
	value := duration("total", t.now().Sub(t.ex.View.Now))
	if f.Target != "" {
		value += ", " + duration("upstream", f.UpstreamTime)
	}
	if waited := t.budget.Spent(); waited > 0 {
		value += ", " + duration("redis", waited)
	}
	if f.Cache != "" {
		value += ", cache;desc=" + f.Cache
	}
	h["Server-Timing"] = append(slices.Clip(h["Server-Timing"]), value)
}

// duration is a metric of Server-Timing, in milliseconds.
func duration(name string, d time.Duration) string {
	return name + ";dur=" + strconv.FormatFloat(ms(d), 'f', -1, 64)
}
