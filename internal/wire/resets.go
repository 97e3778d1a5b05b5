package wire

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// A client of HTTP/2 may cancel requests, as browsers do when a page is left, but not so many that they are
// an attack (CVE-2023-44487): net/http starts each of them, and they cost the client nothing.
const (
	resetsAtOnce   = 200
	resetsASecond  = 20
	resetsInterval = time.Second / resetsASecond
)

// Resets ends HTTP/2 connections whose clients cancel more requests than that. Its methods belong to one
// http.Server.
type Resets struct {
	Now func() time.Time
	// Many reports whether a peer carries many clients on one connection, as a proxy does. Their requests are
	// not counted.
	Many func(remote string) bool
}

// resets counts those of a connection, as GCRA does: full is when it may cancel resetsAtOnce again.
type resets struct {
	conn net.Conn
	mu   sync.Mutex
	full time.Time // guarded by mu
}

type resetsKey struct{}

// ConnContext is an http.Server's.
func (Resets) ConnContext(ctx context.Context, c net.Conn) context.Context {
	if encrypted, ok := c.(*tls.Conn); ok {
		c = encrypted.NetConn() // closing it sends nothing, and so never waits
	}
	return context.WithValue(ctx, resetsKey{}, &resets{conn: c})
}

// Handler counts the requests that were cancelled.
func (r Resets) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.ProtoMajor == 2 {
			ctx := req.Context()
			defer func() {
				if ctx.Err() == nil || r.Many(req.RemoteAddr) {
					return
				}
				if c, ok := ctx.Value(resetsKey{}).(*resets); ok && c.tooMany(r.Now()) {
					_ = c.conn.Close() // it ends either way
				}
			}()
		}
		next.ServeHTTP(w, req)
	})
}

// tooMany counts one.
func (c *resets) tooMany(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full.Before(now) {
		c.full = now
	}
	c.full = c.full.Add(resetsInterval)
	return c.full.Sub(now) > resetsAtOnce*resetsInterval
}
