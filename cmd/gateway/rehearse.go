package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/wire"
	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/proxy"
)

// rehearsal is a request that went through the chain with nothing spent, stored or sent.
type rehearsal struct {
	ex       *exchange.Exchange
	limits   *ratelimit.Dry
	cache    *cache.Dry
	upstream *proxy.Dry

	response *http.Response // as the client would get it
	detail   string         // of its problem document; "": it is none
}

// circumstances are those of one rehearsal.
type circumstances struct {
	at        time.Time
	down      bool // Redis is
	unlimited bool // no limit counts
	as        *session.Listed
}

// rehearse takes a request from a connection through the real layers, on what the stores have now.
func (e *explainer) rehearse(ctx context.Context, q *question, under circumstances) (*rehearsal, error) {
	now := func() time.Time { return under.at }
	s := e.live.Load()
	r := &rehearsal{
		limits:   e.limits.Dry(ratelimit.DryConfig{At: under.at, Remote: e.remote.limits, Down: under.down}),
		cache:    e.cache.Dry(cache.DryConfig{At: under.at, Shared: e.remote.responses, Down: under.down}),
		upstream: &proxy.Dry{Targets: e.targets, Status: q.status, Header: q.response, Now: now},
	}
	quiet := slog.New(slog.DiscardHandler)
	c := chain{
		observer: &middleware.Observer{Live: e.live, Log: quiet, Errors: e.log, Metrics: uncounted{}, Now: now},
		hop:      e.hop, cache: r.cache.Cache,
		sessions: session.New(session.Config{
			Keys: e.secrets.session, Store: e.sessions.Dry(e.remote.sessions, under.down), Now: now,
			Ended: r.cache.EndSession, Forgotten: e.sessions.Forgotten, As: under.as,
		}),
		limits:    ratelimit.HandlerConfig{Store: r.limits, Flights: e.flights.Dry()},
		upstreams: r.upstream, identity: e.secrets.identity, now: now, log: quiet,
		watch: r.watch, unlimited: under.unlimited,
	}
	h := c.before(c.forward())
	err := r.ask(ctx, q, &s.Policy.Server, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if q.encrypted(s) {
			req.TLS = &tls.ConnectionState{}
		}
		h.ServeHTTP(w, req)
	}))
	r.cache.Close()
	if err == nil && r.ex == nil {
		err = errors.New("the request reached no layer")
	}
	return r, err
}

// watch notes the exchange.
func (r *rehearsal) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.ex = exchange.From(req.Context())
		next.ServeHTTP(w, req)
	})
}

const (
	// rehearsalTime bounds a rehearsal; Redis has its own, shorter bound.
	rehearsalTime = 5 * time.Second
	// maxDetail bounds what is read of a response's body.
	maxDetail = 64 << 10
)

// ask sends the request to h over a connection in memory, checked as those of clients are.
func (r *rehearsal) ask(ctx context.Context, q *question, p *policy.Server, h http.Handler) error {
	ctx, cancel := context.WithTimeout(ctx, rehearsalTime)
	defer cancel()
	var served sync.WaitGroup
	server := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		served.Add(1)
		defer served.Done()
		h.ServeHTTP(w, req)
	})}
	wire.Adapt(server, wire.Resets{Now: time.Now})
	near, far := net.Pipe()
	defer context.AfterFunc(ctx, func() { _ = near.Close() })()
	listener := &single{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	listener.conn <- from{far, q.client}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(requestsOf(listener, p, &wire.Connections{})) })
	serving.Go(func() { q.send(near) })
	err := r.read(bufio.NewReader(near), q)
	_ = near.Close()
	served.Wait()
	_ = server.Close()
	serving.Wait()
	return err
}

// read reads the response.
func (r *rehearsal) read(from *bufio.Reader, q *question) (err error) {
	for r.response == nil || middleware.Interim(r.response.StatusCode) {
		if r.response, err = http.ReadResponse(from, &http.Request{Method: q.method}); err != nil { //nolint:bodyclose // below
			return fmt.Errorf("no response: %w", err)
		}
	}
	body, err := io.ReadAll(io.LimitReader(r.response.Body, maxDetail))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read the response: %w", err)
	}
	_ = r.response.Body.Close() // it was read
	if r.response.Header.Get("Content-Type") == "application/problem+json" {
		var p struct{ Detail string }
		_ = json.Unmarshal(body, &p) // else there is no detail
		r.detail = p.Detail
	}
	return nil
}

// single is a listener with one connection.
type single struct {
	conn   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (s *single) Accept() (net.Conn, error) {
	select {
	case c := <-s.conn:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (s *single) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// Addr implements net.Listener.
func (s *single) Addr() net.Addr { return &net.TCPAddr{} }

// from is a connection from a client's address.
type from struct {
	net.Conn
	client netip.Addr
}

// RemoteAddr implements net.Conn.
func (f from) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.client, 1))
}

// uncounted is the metrics of rehearsals.
type uncounted struct{}

func (uncounted) End(*exchange.Exchange, time.Duration) {}
func (uncounted) Panic()                                {}
