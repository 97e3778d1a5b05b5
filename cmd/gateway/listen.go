package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
)

// listen opens an address of the policy: host:port or unix:/path. A socket file
// that a dead process left behind is replaced.
func listen(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
		return l, nil
	}
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close() // it has served its purpose
		return nil, fmt.Errorf("listen on %s: another process answers there", address)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

// shownURL is where a browser on this machine finds a listener.
func shownURL(l net.Listener) string {
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return "unix:" + l.Addr().String()
	}
	host := tcp.IP.String()
	if tcp.IP.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}

// newConns closes connections that have not sent a byte when the server stops:
// http.Server.Shutdown would wait five seconds for each, though nothing is in
// flight on them.
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
		_ = c.Close() // a peer that never spoke is owed nothing
	}
}
