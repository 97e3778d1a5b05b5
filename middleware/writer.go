package middleware

import (
	"bufio"
	"net"
	"net/http"
)

// OnHeader returns a writer that calls f once, just before the final response
// head goes out (1xx are not final), so that f may still change the header. A
// hijacked connection counts as status 101. A handler that writes nothing at all
// sends no head of its own making, and f is not called: those of the chain do.
func OnHeader(w http.ResponseWriter, f func(status int, h http.Header)) http.ResponseWriter {
	return &headerWriter{ResponseWriter: w, f: f}
}

type headerWriter struct {
	http.ResponseWriter
	f func(status int, h http.Header) // nil once called
}

func (w *headerWriter) fire(status int) {
	if f := w.f; f != nil {
		w.f = nil
		f(status, w.Header())
	}
}

func (w *headerWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.fire(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *headerWriter) Write(b []byte) (int, error) {
	w.fire(http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// FlushError sends the head if it has not gone out yet.
func (w *headerWriter) FlushError() error {
	w.fire(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack hands the connection over.
func (w *headerWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.fire(http.StatusSwitchingProtocols)
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap serves http.ResponseController.
func (w *headerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
