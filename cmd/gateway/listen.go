package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/jewgo/gateway/policy"
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
	conn, dead := net.Dial("unix", path)
	if dead == nil {
		_ = conn.Close() // it has served its purpose
		return nil, fmt.Errorf("listen on %s: another process answers there", address)
	}
	// Any other error may come from a live process: busy, or without permission for us.
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 && errors.Is(dead, syscall.ECONNREFUSED) {
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

// listenAdmin is listen for the admin API. A socket file is guarded by its mode alone,
// so only owner and group may connect, whatever the umask is.
func listenAdmin(address string) (net.Listener, error) {
	return listenAs(address, func(umasked os.FileMode) os.FileMode { return umasked &^ 0o007 })
}

// listenData is listen for clients, or for a proxy in front. peersSpeak reports whether
// forwarded client addresses are trusted from every peer: on a socket file to which
// other users may not connect.
func listenData(s *policy.Server) (l net.Listener, peersSpeak bool, err error) {
	mode := os.FileMode(s.SocketMode)
	l, err = listenAs(s.Listen, func(os.FileMode) os.FileMode { return mode })
	return l, strings.HasPrefix(s.Listen, "unix:") && mode&0o002 == 0, err
}

// listenAs is listen that sets the permissions of a socket file.
func listenAs(address string, mode func(umasked os.FileMode) os.FileMode) (net.Listener, error) {
	l, err := listen(address)
	path, ok := strings.CutPrefix(address, "unix:")
	if err != nil || !ok {
		return l, err
	}
	info, err := os.Stat(path)
	if err == nil {
		err = os.Chmod(path, mode(info.Mode().Perm()))
	}
	if err != nil {
		_ = l.Close() // err matters more
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

// shownURL is a listener's URL for a browser on this machine.
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
