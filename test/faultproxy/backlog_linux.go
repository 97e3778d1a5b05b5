package faultproxy

import (
	"net"
	"syscall"
)

// shrinkBacklog leaves room for one unaccepted connection: Linux silently drops the packets of others.
func shrinkBacklog(l *net.TCPListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var listenErr error
	if err := raw.Control(func(fd uintptr) { listenErr = syscall.Listen(int(fd), 0) }); err != nil {
		return err
	}
	return listenErr
}
