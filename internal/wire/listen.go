package wire

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// Sockets opens addresses of the policy: host:port, unix:/path, or systemd:NAME for the sockets that
// systemd has passed under that name (sd_listen_fds(3)). The zero value has none of systemd.
type Sockets struct {
	passed map[string][]net.Listener // not yet opened
	names  []string                  // of all that were passed
}

// Passed takes over the sockets that systemd has passed to this process. It finds them once: later calls,
// and child processes, get none.
func Passed() (*Sockets, error) {
	passed, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("sockets of systemd: %w", err)
	}
	return &Sockets{passed, slices.Sorted(maps.Keys(passed))}, nil
}

// Unopened names the sockets of systemd that no address has named. Nobody answers their clients.
func (s *Sockets) Unopened() []string { return slices.Sorted(maps.Keys(s.passed)) }

// Open listens on an address. mode gives the permissions of a new unix socket from those that the umask
// has left; systemd has set those of its own. Only a name of systemd may give several listeners.
func (s *Sockets) Open(address string, mode func(umasked os.FileMode) os.FileMode) ([]net.Listener, error) {
	if name, ok := strings.CutPrefix(address, "systemd:"); ok {
		listeners := s.passed[name]
		if len(listeners) == 0 {
			return nil, fmt.Errorf("listen on %s: systemd has passed no such socket; %s", address, s.found())
		}
		delete(s.passed, name)
		return listeners, nil
	}
	l, err := open(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		info, err := os.Stat(path)
		if err == nil {
			err = os.Chmod(path, mode(info.Mode().Perm()))
		}
		if err != nil {
			_ = l.Close() // err matters more
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
	}
	return []net.Listener{l}, nil
}

// found lists what systemd has passed, for a message.
func (s *Sockets) found() string {
	if len(s.names) == 0 {
		return "it has passed none"
	}
	return "it has passed " + strings.Join(s.names, ", ") + " (FileDescriptorName= in the .socket unit)"
}

// open listens on host:port or unix:/path. A socket file that a dead process left behind is replaced.
func open(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return net.Listen("tcp", address)
	}
	conn, dead := net.Dial("unix", path)
	if dead == nil {
		_ = conn.Close() // it has served its purpose
		return nil, errors.New("another process answers there")
	}
	// Any other error may come from a live process: busy, or without permission for us.
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 && errors.Is(dead, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	return net.Listen("unix", path)
}

// Guarded reports whether only owner and group may connect: over a unix socket whose file says so.
func Guarded(l net.Listener) bool {
	if l.Addr().Network() != "unix" {
		return false
	}
	info, err := os.Stat(l.Addr().String())
	return err == nil && info.Mode().Perm()&0o002 == 0
}
