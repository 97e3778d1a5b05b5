package wire

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func everyone(os.FileMode) os.FileMode { return 0o666 }

func TestASocketInUseIsLeftAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.sock")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for { // until its queue is full
		conn, err := net.Dial("unix", path)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	if l, err := new(Sockets).Open("unix:"+path, everyone); err == nil {
		_ = l[0].Close()
		t.Error("the socket of a process that is busy was taken away")
	}
}

func TestTheModeOfASocketSaysWhoMayConnect(t *testing.T) {
	t.Parallel()
	for mode, guarded := range map[os.FileMode]bool{0o660: true, 0o600: true, 0o662: false, 0o666: false} {
		path := filepath.Join(t.TempDir(), "a.sock")
		l, err := new(Sockets).Open("unix:"+path, func(os.FileMode) os.FileMode { return mode })
		if err != nil {
			t.Fatal(err)
		}
		defer l[0].Close()
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != mode || Guarded(l[0]) != guarded {
			t.Errorf("mode %v (%v), guarded %v; want %v, %v", info.Mode(), err, Guarded(l[0]), mode, guarded)
		}
	}
}
