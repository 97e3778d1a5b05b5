package session

import (
	"errors"
	"net/http"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/middleware"
)

var errUnheard = errors.New(SignalHeader + " from a route without session_signal")

// signalStripper keeps the signal of routes without sessions from every client.
type signalStripper struct {
	ex  *exchange.Exchange
	out bool // the head is
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
		s.ex.Facts.Note(errUnheard.Error())
	}
}

// OnHeader implements middleware.HeaderHook. Interim heads, what ReverseProxy fills
// in after it has taken a connection over, and what comes from no upstream are
// stripped of the signal and the cookies that stay here.
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

// stripTrailer keeps the signal out of trailers, and cookies, which no browser takes
// from there. Where the head is out, what stands in h is a trailer.
func stripTrailer(h http.Header, out bool) {
	for _, name := range [...]string{SignalHeader, "Set-Cookie"} {
		if out {
			delete(h, name)
		}
		delete(h, http.TrailerPrefix+name)
	}
}

// dropOwn removes what an upstream sets under the session cookie's name, of which it
// knows nothing: the browser would lose its session.
func dropOwn(ex *exchange.Exchange, h http.Header) {
	if name := ex.Snapshot.Policy.Session.Cookie.Name; len(takeCookies(h, []string{name})) > 0 {
		ex.Facts.Note("Set-Cookie of the upstream under the session cookie's name: dropped")
	}
}
