package middleware

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/problem"
	"github.com/jewgo/gateway/policy"
)

// Metrics counts requests; its methods must not block.
type Metrics interface {
	// End gets the result of a request.
	End(ex *exchange.Exchange, took time.Duration)
	// Panic counts a handler that panicked.
	Panic()
}

// Observer creates a request's Exchange, and writes one log line and one set of metrics when the
// request is over. All fields but TrustSocket are required.
type Observer struct {
	Live    *policy.Live
	Log     *slog.Logger // for the access log
	Errors  *slog.Logger // for panics
	Metrics Metrics
	Now     func() time.Time
	// TrustSocket trusts peers without an address, which come from a unix socket: its file mode
	// decides who may connect.
	TrustSocket bool

	inFlight, undecided atomic.Int64
}

// InFlight returns how many requests are being served, including their log lines, and how many of
// them have not sent a final head yet: the others only transfer bytes.
func (o *Observer) InFlight() (all, undecided int64) {
	undecided = o.undecided.Load()
	return o.inFlight.Load(), undecided
}

// Handler is the outermost layer.
func (o *Observer) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.inFlight.Add(1)
		o.undecided.Add(1)
		s := o.begin(w, r)
		ex, cw := &s.ex, &s.writer
		w.Header()["X-Request-Id"] = s.id[:]
		r = r.WithContext(exchange.With(r.Context(), ex))
		if asksForTiming(r.Header, &ex.Snapshot.Policy.Server) {
			budget, _ := r.Context().Value(failover.BudgetKey{}).(*failover.Budget) // every Exchange comes with one
			cw.hooks = append(cw.hooks, timing{ex, budget, o.Now})
		}
		if r.Body != nil && r.Body != http.NoBody {
			server := &ex.Snapshot.Policy.Server
			cw.body = &countingBody{ReadCloser: r.Body, w: w, deadline: cw.deadline, minRate: int64(server.MinUploadRate), grace: server.Timeouts.UploadGrace.Std()}
			r.Body = cw.body
		}
		defer func() {
			failed := recover()
			if failed != nil {
				failed = o.recovered(failed, ex, cw, r)
			}
			switch cw.status {
			case 0:
				cw.body.abandon(http.StatusOK, cw.Header())
			case http.StatusSwitchingProtocols: // the connection is no longer ours
			default: // net/http flushes its buffer
				cw.deadline.extendWrite(w)
			}
			o.end(ex, cw, r)
			cw.decided()
			o.inFlight.Add(-1)
			if failed != nil {
				panic(failed)
			}
		}()
		next.ServeHTTP(cw, r)
	})
}

// served holds everything that each request needs, in one allocation.
type served struct {
	ex     exchange.Exchange
	writer writer
	hooks  [3]HeaderHook // room for the chain's hooks
	id     [1]string     // the value of X-Request-Id
}

// begin creates the Exchange with everything known before Hygiene.
func (o *Observer) begin(w http.ResponseWriter, r *http.Request) *served {
	now, snapshot := o.Now(), o.Live.Load()
	proxies := snapshot.Policy.Server.TrustedProxies
	peer := peerAddr(r.RemoteAddr)
	believed := o.believes(peer, proxies)
	client, encrypted := originOf(peer, believed, r.Header, proxies)
	s := &served{ex: exchange.Exchange{
		Snapshot: snapshot,
		View: policy.View{
			Method:    r.Method,
			Host:      policy.HostOf(r.Host),
			Authority: strings.TrimSuffix(strings.ToLower(r.Host), ":"), // an empty port equals none (RFC 3986, 6.2.3)
			Client:    client,
			TLS:       r.TLS != nil || encrypted,
			Now:       now,
			Header:    r.Header,
		},
	}}
	if id := r.Header.Get("X-Request-Id"); id != "" && believed && wellFormedID(id) {
		s.ex.RequestID = id
	} else {
		s.ex.RequestID = newID()
	}
	s.id[0] = s.ex.RequestID
	s.ex.Traceparent = traceparent(r.Header, &snapshot.Policy.Server.Trace)
	atOnce := writeAtOnce
	if r.ProtoMajor == 2 {
		atOnce = writeHTTP2AtOnce
	}
	s.writer = writer{
		ResponseWriter: w, atOnce: atOnce, hooks: s.hooks[:0], undecided: &o.undecided,
		deadline: deadline{progress: snapshot.Policy.Server.Timeouts.Progress.Std(), now: o.Now},
	}
	return s
}

// Believes reports whether a peer, by http.Request.RemoteAddr, speaks for other clients.
func (o *Observer) Believes(remote string) bool {
	return o.believes(peerAddr(remote), o.Live.Load().Policy.Server.TrustedProxies)
}

func (o *Observer) believes(peer netip.Addr, proxies []policy.Prefix) bool {
	return trusted(peer, proxies) || o.TrustSocket && !peer.IsValid()
}

// newID returns 24 random characters. It identifies, and opens nothing: so it need not come from the system.
func newID() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var id [24]byte
	for i := 0; i < len(id); i += 12 { // of 5 bits each
		for j, bits := i, rand.Uint64(); j < i+12; j, bits = j+1, bits>>5 {
			id[j] = alphabet[bits%32]
		}
	}
	return string(id[:])
}

// wellFormedID accepts IDs that are safe in logs and headers.
func wellFormedID(id string) bool {
	for i := range len(id) {
		if !unreserved(id[i]) {
			return false
		}
	}
	return len(id) <= 128
}

// recovered handles a panic and returns the value to panic with again, if any. Before the head is
// sent, the client gets a 500. After that the connection is aborted, so that a truncated body does
// not look complete.
func (o *Observer) recovered(failed any, ex *exchange.Exchange, w *writer, r *http.Request) any {
	if err, ok := failed.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		if ex.Facts.Reason == "" {
			ex.Facts.Reason = "aborted while streaming"
		}
		return failed
	}
	o.Metrics.Panic()
	o.Errors.ErrorContext(r.Context(), "handler panicked", "request_id", ex.RequestID, "panic", failed, "stack", string(debug.Stack()))
	if w.status != 0 {
		ex.Facts.Reason = "panic"
		return http.ErrAbortHandler
	}
	w.hooks = nil // their layers are gone
	ex.Refuse(w, "panic", problem.Problem{Status: http.StatusInternalServerError})
	return nil
}

func (o *Observer) end(ex *exchange.Exchange, w *writer, r *http.Request) {
	took := o.Now().Sub(ex.View.Now)
	f := &ex.Facts
	f.BytesOut = w.n
	if w.body != nil {
		f.BytesIn = w.body.n.Load()
	}
	switch {
	case w.status != 0:
		f.Status = w.status
	case f.Status != 0:
	case r.Context().Err() != nil:
		f.Status = exchange.StatusClientGone
	default:
		f.Status = http.StatusOK
	}
	o.Metrics.End(ex, took)
	if logged(ex) {
		o.Log.LogAttrs(r.Context(), slog.LevelInfo, "request", attrs(ex, r, took)...)
	}
}
