package proxy

import (
	"maps"
	"net/http"
)

// clientWriter is the client's side of a call, as ReverseProxy sees it.
type clientWriter struct {
	http.ResponseWriter

	in     *http.Request
	upload *upload     // nil: a request without a body
	final  bool        // no more informational responses can come
	hints  http.Header // of an informational response
	gone   bool        // a write to the client failed
}

// Header returns a separate header while informational responses may come: ReverseProxy fills and
// then empties it for each, and would also remove what outer layers have set for the final response.
func (w *clientWriter) Header() http.Header {
	if w.final {
		return w.ResponseWriter.Header()
	}
	if w.hints == nil {
		w.hints = make(http.Header)
	}
	return w.hints
}

// WriteHeader sends a header. If the client is still sending its body, the connection is closed after
// the response. Otherwise net/http would read the rest of the body, which is also on its way
// upstream, to find the next request, and it would be unclear where that begins.
func (w *clientWriter) WriteHeader(status int) {
	if status < 200 {
		w.inform(status)
		return
	}
	if w.in.ProtoMajor == 1 && !w.upload.finished() {
		w.Header().Set("Connection", "close")
	}
	w.ResponseWriter.WriteHeader(status)
}

// inform sends an informational response. HTTP/1.0 does not know them (RFC 9110, 15.2).
func (w *clientWriter) inform(status int) {
	if !w.in.ProtoAtLeast(1, 1) {
		return
	}
	h := w.ResponseWriter.Header()
	kept := maps.Clone(h)
	clear(h)
	maps.Copy(h, w.hints)
	w.ResponseWriter.WriteHeader(status)
	clear(h)
	maps.Copy(h, kept)
}

func (w *clientWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	if err != nil {
		w.gone = true
	}
	return n, err
}

// Unwrap supports http.ResponseController.
func (w *clientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
