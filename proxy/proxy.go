// Package proxy sends requests to the backends: httputil.ReverseProxy with
// Rewrite, over pools of targets with balancing, health checks and retries. It
// decides what of a request goes upstream, and what every failure on the way
// means to the client, in one place (errors.go).
//
// New's Handler stands at the end of the chain; below it Pools is the
// RoundTripper that chooses a target. Whatever stands between the two, such as
// the cache, sees requests as they will be sent and responses as plain values.
// What is asked of the policy arrives in the request's Exchange; the package
// knows no middleware, and keeps no bodies.
package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/problem"
)

// Config configures a Handler. Transport is required.
type Config struct {
	// Transport is what requests are sent through: Pools, or what wraps it.
	Transport http.RoundTripper
	// Identity tells the upstream who is calling; an empty value is not sent.
	// It is not asked for requests whose response may be shared. nil: nobody is
	// told.
	Identity func(ex *exchange.Exchange) (header, value string)
	// Log is told of failures that are not the client's. nil: nobody is.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Identity == nil {
		c.Identity = func(*exchange.Exchange) (string, string) { return "", "" }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Handler forwards requests. It runs inside of a chain that has completed the
// Exchange up to its Route, which has an Upstream.
type Handler struct {
	cfg      Config
	buffers  bufferPool
	errorLog *log.Logger // of ReverseProxy, which knows no levels
	switches switches
}

// New returns a Handler.
func New(cfg Config) *Handler {
	cfg = cfg.withDefaults()
	return &Handler{cfg: cfg, errorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug)}
}

// Leave ends the WebSockets: both sides get a close frame that says that the
// gateway goes away. The client closes its connection then; one that has not when
// ctx is done is cut off.
func (h *Handler) Leave(ctx context.Context) { h.switches.leave(ctx) }

// ServeHTTP forwards one request. If the response breaks off after its head is
// out it panics with http.ErrAbortHandler, so that no truncated body looks
// whole.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{clientWriter: clientWriter{ResponseWriter: w, in: r}, h: h, ex: exchange.From(r.Context())}
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
	}()
	proxy.ServeHTTP(c, r)
	whole = true
}

// call is one request on its way through ReverseProxy. There is a ReverseProxy
// to each, since its hooks have to know the client's side.
type call struct {
	clientWriter

	h         *Handler
	ex        *exchange.Exchange
	rewritten bool      // ReverseProxy found nothing wrong with the request
	switched  *switched // nil: the protocol is HTTP
}

// Hijack is called where the upstream has switched protocols.
func (c *call) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(c.ResponseWriter).Hijack()
	if c.switched != nil {
		c.switched.client = conn
		if err == nil {
			c.h.switches.add(c.switched)
		}
	}
	return conn, rw, err
}

// answered is called when the upstream's head is here.
func (c *call) answered(resp *http.Response) error {
	c.final = true
	if body, ok := resp.Body.(*switchedBody); ok {
		c.switched = &switched{upstream: body}
	} else if !c.upload.finished() {
		resp.Body = &answerBody{resp.Body, c.upload}
	}
	return nil
}

// answerBody is of an answer that came before all of the upload had. To close it waits
// for the transport to be done with the upload where that goes by HTTP/2.
type answerBody struct {
	io.ReadCloser
	upload *upload
}

// Close implements io.Closer.
func (b *answerBody) Close() error {
	b.upload.detach()
	return b.ReadCloser.Close()
}

// fail answers in the upstream's place.
func (c *call) fail(_ http.ResponseWriter, r *http.Request, err error) {
	c.final = true
	ctxErr := r.Context().Err() // before detach, which may cancel the context
	if c.upload.wasInterrupted() {
		ctxErr = nil // it was the upstream, not the client
	}
	c.upload.detach()
	var f failure
	if c.rewritten {
		f = judge(ctxErr, c.upload.failure(), err)
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
	if f.status >= 500 {
		c.h.cfg.Log.LogAttrs(r.Context(), slog.LevelWarn, "request not answered by its upstream",
			slog.String("request_id", c.ex.RequestID), slog.String("upstream", c.ex.Route.Upstream),
			slog.String("target", facts.Target), slog.String("reason", f.reason), slog.Any("error", err))
	}
	if f.status == http.StatusServiceUnavailable {
		c.Header().Set("Retry-After", "1")
	}
	problem.Write(&c.clientWriter, problem.Problem{Status: f.status, Detail: f.detail})
}

// brokeOff notes why a response ended early; the panic goes on.
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

// abort ends a request without an answer. To return would not do: net/http
// would send an empty 200, which a client that has merely closed its sending
// side takes for the answer. Outside of a server there is nobody to recover.
func abort(r *http.Request) {
	if r.Context().Value(http.ServerContextKey) != nil {
		panic(http.ErrAbortHandler)
	}
}
