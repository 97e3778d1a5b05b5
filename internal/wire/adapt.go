package wire

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/jewgo/gateway/internal/problem"
)

// lastRead is how long a client that was refused may still send.
const lastRead = 500 * time.Millisecond

// lastAlert is how long closing a connection waits until the client has been told.
const lastAlert = 5 * time.Millisecond

type connKey struct{}

// Adapt prepares s, whose fields are otherwise complete, for connections of Requests: its handler gets
// http.Request.TLS, and requests that are refused, whose problem is in their context. Clients of HTTP/2
// that cancel too many requests are cut off.
func Adapt(s *http.Server, r Resets) {
	s.DisableGeneralOptionsHandler = true
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	states := s.ConnState
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if checked, ok := c.(*checkedConn); ok {
			checked.idleSince.Store(0)
			switch state {
			case http.StateIdle:
				checked.idleSince.Store(r.Now().UnixNano())
			case http.StateHijacked:
				checked.unchecked = true
			}
		}
		if states != nil {
			states(c, state)
		}
	}
	next := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c, ok := req.Context().Value(connKey{}).(*checkedConn)
		switch {
		case !ok:
			next.ServeHTTP(w, req)
		case req.ProtoMajor == 2:
			req.TLS = c.state
			defer r.count(c, req)
			next.ServeHTTP(w, req)
		case req.Method == refusedMethod:
			c.answer(next, w, req)
		default:
			req.TLS = c.state
			next.ServeHTTP(w, req)
		}
	})
}

// answer lets next answer a request that is refused, and waits until the client has read it.
func (c *checkedConn) answer(next http.Handler, w http.ResponseWriter, req *http.Request) {
	req.TLS, req.Host, req.RequestURI, req.URL = c.state, "", c.refused, &url.URL{Path: "/"}
	next.ServeHTTP(w, req.WithContext(problem.With(req.Context(), c.refusal)))
	if http.NewResponseController(w).Flush() != nil || c.CloseWrite() != nil {
		return
	}
	select {
	case <-req.Context().Done(): // the client has closed the connection
	case <-time.After(lastRead):
	}
}
