package session

import (
	"bufio"
	"net"
	"net/http"
)

// signalStripper keeps the signal out of the two heads that OnHeader does not
// see complete: interim responses, and that of an upgrade, whose header
// ReverseProxy fills in only after it has taken the connection over.
type signalStripper struct {
	http.ResponseWriter
	hijacked bool
}

func (w *signalStripper) Header() http.Header {
	h := w.ResponseWriter.Header()
	if w.hijacked {
		h.Del(SignalHeader)
	}
	return h
}

func (w *signalStripper) WriteHeader(status int) {
	w.Header().Del(SignalHeader)
	w.ResponseWriter.WriteHeader(status)
}

// Hijack hands the connection over.
func (w *signalStripper) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.hijacked = true
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap serves http.ResponseController.
func (w *signalStripper) Unwrap() http.ResponseWriter { return w.ResponseWriter }
