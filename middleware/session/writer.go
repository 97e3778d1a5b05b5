package session

import (
	"errors"
	"net/http"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/middleware"
)

var errUnheard = errors.New(SignalHeader + " from a route without session_signal")

// signalStripper keeps the signal of routes without sessions from every client.
type signalStripper struct{ ex *exchange.Exchange }

// OnHeader implements middleware.HeaderHook.
func (s signalStripper) OnHeader(status int, h http.Header) {
	if len(h[SignalHeader]) == 0 {
		return
	}
	delete(h, SignalHeader)
	if status >= 200 {
		s.ex.Facts.Note(errUnheard.Error())
	}
}

// OnHeader implements middleware.HeaderHook. Interim heads, and what ReverseProxy
// fills in after it has taken a connection over, are only stripped of the signal and
// the cookies that stay here.
func (v *visit) OnHeader(status int, h http.Header) {
	if v.finished || middleware.Interim(status) {
		delete(h, SignalHeader)
		takeCookies(h, v.policy.Offload)
		return
	}
	v.finish(h)
}

// stripTrailer keeps the signal out of trailers.
func stripTrailer(h http.Header) {
	h.Del(SignalHeader) // its head is out: what stands here now is a trailer
	h.Del(http.TrailerPrefix + SignalHeader)
}
