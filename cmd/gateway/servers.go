package main

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jewgo/gateway/internal/wire"
	"github.com/jewgo/gateway/policy"
)

// endpoint is a server with the listeners that it serves; the zero value is none.
type endpoint struct {
	server    *http.Server
	listeners []net.Listener
}

// servers are the gateway's endpoints.
type servers struct {
	data, admin, redirect endpoint // for clients, for the operator, and for clients that come by plain HTTP
	scheme                string   // of data
	failed                chan error
	deaf                  atomic.Bool // listeners of data and redirect were closed on purpose
}

// open listens and serves. The admin listener comes first: once clients are served,
// health checks are answered too.
func (g *gateway) open(p *policy.Policy) (_ *servers, err error) {
	s := &servers{scheme: "http", failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	sockets, err := wire.Passed()
	if err != nil {
		return nil, err
	}
	quiet := slog.NewLogLogger(g.log.Handler(), slog.LevelDebug) // mistakes of clients are not worth a log line
	if p.Server.Admin != "" {
		s.admin.server = &http.Server{Handler: g.admin, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, ErrorLog: quiet}
		if s.admin.listeners, err = sockets.Open(p.Server.Admin, ownerAndGroup); err != nil {
			return nil, err
		}
	}
	if err := g.openData(s, &p.Server, sockets, quiet); err != nil {
		return nil, err
	}
	if unopened := sockets.Unopened(); len(unopened) > 0 {
		g.log.Warn("systemd has passed sockets that no address of the policy names: their clients get no answer", "sockets", unopened)
	}
	for _, e := range []*endpoint{&s.admin, &s.redirect, &s.data} {
		for _, l := range e.listeners {
			go s.serve(e.server, l)
		}
	}
	return s, nil
}

// ownerAndGroup is the mode of the admin API's socket file, which is guarded by nothing else.
func ownerAndGroup(umasked os.FileMode) os.FileMode { return umasked &^ 0o007 }

// openData opens the addresses for clients, and those of plain HTTP beside HTTPS.
func (g *gateway) openData(s *servers, p *policy.Server, sockets *wire.Sockets, quiet *log.Logger) error {
	s.data.server = g.newServer(g.handler, p, quiet)
	bounds := g.resources.bound(p, g.observer.Believes)
	guarded, open := 0, 0 // unix sockets
	for _, address := range p.Listen {
		listeners, err := listenAt(address, p, sockets)
		if err != nil {
			return err
		}
		for _, l := range listeners {
			switch {
			case wire.Guarded(l):
				guarded++
			case l.Addr().Network() == "unix":
				open++
				g.log.Warn("every user may connect to the socket, so forwarded client addresses are not trusted: all requests count as one client", "listen", address)
			}
			checked := requestsOf(l, p, bounds)
			if p.TLS != nil {
				s.scheme, checked.TLS = "https", g.certs.TLS()
			}
			s.data.listeners = append(s.data.listeners, checked)
		}
	}
	https := tcpAddr(s.data.listeners)
	if p.TLS != nil && p.TLS.Redirect != "" {
		s.redirect.server = g.newServer(g.toHTTPS(redirectPort(p.TLS, https)), p, quiet)
		var err error
		if s.redirect.listeners, err = listenAt(p.TLS.Redirect, p, sockets); err != nil {
			return err
		}
		for _, l := range s.redirect.listeners {
			if l.Addr().Network() == "unix" && !wire.Guarded(l) {
				open++
			}
		}
		for i, l := range s.redirect.listeners {
			s.redirect.listeners[i] = requestsOf(l, p, bounds)
		}
	}
	g.observer.TrustSocket = guarded > 0 && open == 0
	if p.TLS != nil {
		g.certs.Answer(https, tcpAddr(s.redirect.listeners))
	}
	return nil
}

// newServer is a server for clients, within the policy's bounds.
func (g *gateway) newServer(h http.Handler, p *policy.Server, quiet *log.Logger) *http.Server {
	var fresh newConns
	server := &http.Server{
		Handler:           g.lastOnes(h),
		ReadHeaderTimeout: p.Timeouts.ReadHeader.Std(),
		IdleTimeout:       p.Timeouts.Idle.Std(),
		MaxHeaderBytes:    int(p.MaxHeader), // of HTTP/2
		ConnState:         fresh.track,
		ErrorLog:          quiet,
		HTTP2:             http2Bounds(p),
		Protocols:         &http.Protocols{},
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(p.TLS != nil || p.H2C) // encryption is a matter of the listener
	server.RegisterOnShutdown(fresh.close)
	wire.Adapt(server, wire.Resets{Now: time.Now, Many: g.observer.Believes})
	return server
}

// listenAt opens an address for clients.
func listenAt(address string, p *policy.Server, sockets *wire.Sockets) ([]net.Listener, error) {
	listeners, err := sockets.Open(address, func(os.FileMode) os.FileMode { return os.FileMode(p.SocketMode) })
	for i, l := range listeners {
		listeners[i] = wire.ProxyProtocol(wire.Listener{Listener: l, Patience: p.Timeouts.Progress.Std()}, p.ProxyProtocol, p.Timeouts.ReadHeader.Std())
	}
	return listeners, err
}

// requestsOf lets only well-formed requests in.
func requestsOf(l net.Listener, p *policy.Server, bounds *wire.Connections) *wire.Requests {
	return &wire.Requests{
		Listener: l, Bounds: bounds, H2C: p.H2C, Timeout: p.Timeouts.ReadHeader.Std(),
		Limits: wire.Limits{Head: int(p.MaxHeader), Target: int(p.MaxTarget), Field: int(p.MaxField), Fields: p.MaxFields},
	}
}

// tcpAddr is the first TCP address of listeners; nil: none.
func tcpAddr(listeners []net.Listener) *net.TCPAddr {
	for _, l := range listeners {
		if tcp, ok := l.Addr().(*net.TCPAddr); ok {
			return tcp
		}
	}
	return nil
}

// http2Bounds are what one client may have of HTTP/2 at once.
func http2Bounds(p *policy.Server) *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams: 100,
		MaxReadFrameSize:     16 << 10,                  // the least that is allowed
		WriteByteTimeout:     p.Timeouts.Progress.Std(), // of a client that takes nothing at all
	}
}

// serve ends when its server, or its listener, is closed.
func (s *servers) serve(server *http.Server, l net.Listener) {
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) && !s.deaf.Load() {
		select {
		case s.failed <- fmt.Errorf("serve %s: %w", l.Addr(), err):
		default: // the first one ends the process
		}
	}
}

// deafen closes the listeners for clients, whose connections stay.
func (s *servers) deafen() {
	s.deaf.Store(true)
	for _, l := range slices.Concat(s.redirect.listeners, s.data.listeners) {
		_ = l.Close() // one that fails to close accepts nothing either
	}
}

// close ends all at once.
func (s *servers) close() {
	for _, e := range []*endpoint{&s.data, &s.redirect, &s.admin} {
		if e.server != nil {
			_ = e.server.Close() // its listeners are all that can fail to close
		}
		for _, l := range e.listeners {
			_ = l.Close() // as above
		}
	}
}

// shownURL is the URL of a listener for a browser on this machine.
func shownURL(scheme string, l net.Listener) string {
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return "unix:" + l.Addr().String()
	}
	host := tcp.IP.String()
	if tcp.IP.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}

// newConns closes connections that have not sent a byte when the server stops.
// http.Server.Shutdown would wait five seconds for them.
type newConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu
}

// track is an http.Server's ConnState.
func (n *newConns) track(c net.Conn, state http.ConnState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns == nil {
		n.conns = map[net.Conn]struct{}{}
	}
	if state == http.StateNew {
		n.conns[c] = struct{}{}
	} else {
		delete(n.conns, c)
	}
}

// close closes them; it is an http.Server's OnShutdown function.
func (n *newConns) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		_ = c.Close() // nothing is in flight on it
	}
}
