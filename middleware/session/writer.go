package session

import (
	"net/http"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/middleware"
)

// signalStripper strips the signal on routes without sessions.
type signalStripper struct {
	m   *Manager
	ex  *exchange.Exchange
	out bool // the header is out
}

// OnHeader implements middleware.HeaderHook.
func (s *signalStripper) OnHeader(status int, h http.Header) {
	s.out = s.out || !middleware.Interim(status)
	dropOwn(s.ex, h)
	if len(h[SignalHeader]) == 0 {
		return
	}
	delete(h, SignalHeader)
	if status >= 200 {
		s.m.unheard(s.ex)
	}
}

// OnHeader implements middleware.HeaderHook. It strips the signal and the offloaded cookies from
// interim headers, from those that ReverseProxy fills in after a hijack, and from responses that
// come from no upstream.
func (v *visit) OnHeader(status int, h http.Header) {
	final := !v.finished && !middleware.Interim(status)
	if !final || !v.heard {
		delete(h, SignalHeader)
		dropOwn(v.ex, h)
		takeCookies(h, v.policy.Offload)
	}
	if final {
		v.finish(h)
	}
}

// stripTrailer removes the signal and cookies from trailers; browsers ignore cookies there. Once the
// header is out, h holds trailers.
func stripTrailer(h http.Header, out bool) {
	if out {
		delete(h, SignalHeader)
		delete(h, "Set-Cookie")
	}
	delete(h, http.TrailerPrefix+SignalHeader)
	delete(h, http.TrailerPrefix+"Set-Cookie")
}

// dropOwn removes upstream cookies that have the session cookie's name: the browser would lose its
// session.
func dropOwn(ex *exchange.Exchange, h http.Header) {
	if name := ex.Snapshot.Policy.Session.Cookie.Name; len(takeCookies(h, []string{name})) > 0 {
		ex.Facts.Note("upstream Set-Cookie dropped: it has the session cookie's name")
	}
}
