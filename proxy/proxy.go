// Package proxy sends requests to the backends: httputil.ReverseProxy with Rewrite, over pools of
// targets with balancing, health checks and retries. It decides which parts of a request go upstream
// and, in one place (errors.go), how each failure is answered.
//
// New's Handler is the end of the chain; below it Pools is the RoundTripper that chooses a target.
// RoundTrippers between the two, such as the cache, see requests as they will be sent and responses
// as plain values. The policy arrives in the request's Exchange. The package knows no middleware, and
// keeps no bodies.
package proxy

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/problem"
)

// Config configures a Handler. Transport is required.
type Config struct {
	// Transport sends requests: Pools, or a wrapper around it.
	Transport http.RoundTripper
	// Identity returns the header that identifies the user to the upstream; an empty value is not
	// sent. It is not called for requests whose response may be shared. nil: no header.
	Identity func(ex *exchange.Exchange) (header, value string)
	// Hop is the gateway's entry in Via, without the version, of requests. "": edge.
	Hop string
	// Log gets failures that are not the client's. nil: discarded.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Hop = cmp.Or(c.Hop, pseudonym)
	if c.Identity == nil {
		c.Identity = func(*exchange.Exchange) (string, string) { return "", "" }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Handler forwards requests. It runs inside a chain that has completed the Exchange up to its Route,
// which has an Upstream.
type Handler struct {
	cfg      Config
	buffers  bufferPool  // for responses
	uploads  buffers     // of requests
	errorLog *log.Logger // for ReverseProxy, which knows no levels
	switches leaving[*switched]
	events   leaving[*eventStream] // whose clients reconnect
	others   leaving[*eventStream] // streams of events whose clients may not
}

// New returns a Handler.
func New(cfg Config) *Handler {
	cfg = cfg.withDefaults()
	return &Handler{cfg: cfg, errorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug)}
}

// Leave ends the WebSockets: both sides get a close frame with the status "going away". The client is
// expected to close its connection then; when ctx is done, remaining connections are cut. The streams of
// events that EndEvents has left end between two events.
func (h *Handler) Leave(ctx context.Context) {
	h.others.leave()
	h.switches.leave()
	nothing := func(*eventStream) {}
	for h.switches.each(func(*switched) {})+h.others.each(nothing)+h.events.each(nothing) > 0 {
		select {
		case <-ctx.Done():
			h.switches.each((*switched).cut)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// EndEvents ends the streams of server-sent events whose clients reconnect, and those that begin later, each between two
// events. The clients should find another gateway.
func (h *Handler) EndEvents() { h.events.leave() }

// ServeHTTP forwards one request. If the response breaks off after its header is out, it panics with
// http.ErrAbortHandler, so that a truncated body does not look complete.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{clientWriter: clientWriter{ResponseWriter: w, in: r}, h: h, ex: exchange.From(r.Context())}
	c.values = c.room[:0]
	proxy := httputil.ReverseProxy{
		Rewrite:        c.rewrite,
		Transport:      h.cfg.Transport,
		ModifyResponse: c.answered,
		ErrorHandler:   c.fail,
		BufferPool:     &h.buffers,
		ErrorLog:       h.errorLog,
	}
	whole := false
	defer func() {
		if !whole {
			c.brokeOff()
		}
		c.upload.detach()
		if c.switched != nil && h.switches.remove(c.switched) {
			c.ex.Facts.Note(ReasonLeaving)
		}
		if c.events != nil {
			c.among.remove(c.events)
			if c.events.ended() {
				c.ex.Facts.Note(ReasonLeaving)
			}
		}
	}()
	release, err := h.uploads.hold(r, c.ex.Route)
	defer release()
	if err != nil {
		c.rewritten, c.early = true, err
		c.fail(c, r, err)
	} else {
		proxy.ServeHTTP(c, r)
	}
	whole = true
}

// call is one request on its way through ReverseProxy. Each has its own ReverseProxy, whose hooks
// need the client's side.
type call struct {
	clientWriter

	h         *Handler
	ex        *exchange.Exchange
	rewritten bool                   // ReverseProxy found nothing wrong with the request
	early     error                  // of the client's body, before anything went upstream
	switched  *switched              // nil: the protocol is still HTTP
	events    *eventStream           // nil: the response is none
	among     *leaving[*eventStream] // where it is held
	values    []string               // of fields that go upstream; see set
	room      [5]string              // for them
}

// Hijack is called when the upstream has switched protocols.
func (c *call) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(c.ResponseWriter).Hijack()
	if c.switched != nil {
		c.switched.client = conn
		if err == nil {
			if progress := c.ex.Route.Progress; progress > 0 {
				_ = conn.SetWriteDeadline(time.Now().Add(progress)) // of each write from now on (see internal/wire); if it fails, so do they
			}
			c.h.switches.add(c.switched)
		}
	}
	return conn, rw, err
}

// answered is called when the upstream's header has arrived.
func (c *call) answered(resp *http.Response) error {
	c.final = true
	if body, ok := resp.Body.(*switchedBody); ok {
		c.switched = &switched{upstream: body}
	} else if !c.upload.finished() {
		resp.Body = &answerBody{resp.Body, c.upload}
	}
	if c.switched == nil && sendsEvents(c.in, resp) {
		c.events, c.among = newEventStream(resp.Body), &c.h.others
		if reconnects(c.in) {
			c.among = &c.h.events
		}
		resp.Body = c.events
		c.among.add(c.events)
	}
	return nil
}

// answerBody is the body of a response that came before the end of the upload. With HTTP/2, closing
// it waits until the transport is done with the upload, so Close detaches that first.
type answerBody struct {
	io.ReadCloser
	upload *upload
}

// Close implements io.Closer.
func (b *answerBody) Close() error {
	b.upload.detach()
	return b.ReadCloser.Close()
}

// fail answers in place of the upstream.
func (c *call) fail(_ http.ResponseWriter, r *http.Request, err error) {
	c.final = true
	ctxErr := r.Context().Err() // before detach, which may cancel the context
	if c.upload.wasInterrupted() {
		ctxErr = nil // the upstream failed, not the client
	}
	c.upload.detach()
	var f failure
	if c.rewritten {
		f = judge(ctxErr, cmp.Or(c.early, c.upload.failure()), err)
	} else {
		f = failure{status: http.StatusBadRequest, reason: ReasonUpgrade}
	}
	facts := &c.ex.Facts
	facts.Reason = f.reason
	if f.status == exchange.StatusClientGone {
		facts.Status = f.status
		if c.h.switches.stopped() {
			facts.Status, facts.Reason = http.StatusServiceUnavailable, ReasonLeaving
		}
		abort(r)
		return
	}
	if f.status >= 500 && f.reason != ReasonBusy { // which metrics count: logging it would cost more than refusing
		c.h.cfg.Log.LogAttrs(r.Context(), slog.LevelWarn, "request not answered by its upstream",
			slog.String("request_id", c.ex.RequestID), slog.String("upstream", c.ex.Route.Upstream),
			slog.String("target", facts.Target), slog.String("reason", f.reason), slog.Any("error", err))
	}
	if f.status == http.StatusServiceUnavailable {
		c.Header().Set("Retry-After", "1")
	}
	problem.Write(&c.clientWriter, problem.Problem{Status: f.status, Detail: f.detail})
}

// brokeOff notes why a response was truncated; the panic goes on.
func (c *call) brokeOff() {
	switch {
	case c.ex.Facts.Reason != "":
	case c.h.switches.stopped():
		c.ex.Facts.Reason = ReasonLeaving
	case c.gone || errors.Is(c.in.Context().Err(), context.Canceled):
		c.ex.Facts.Reason = ReasonClientGone
	default:
		c.ex.Facts.Reason = ReasonBrokeOff
	}
}

// abort ends a request without a response. A plain return would make net/http send an empty 200, and
// a client that has only closed its sending side would take it for the response. Outside of a server
// nothing would recover the panic, so there is none.
func abort(r *http.Request) {
	if r.Context().Value(http.ServerContextKey) != nil {
		panic(http.ErrAbortHandler)
	}
}
