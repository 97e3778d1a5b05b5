package wire

import (
	"syscall"
	"unsafe"
)

// outgoing is SIOCOUTQ: the number of bytes not yet acknowledged.
func outgoing(fd uintptr) int {
	var n int32
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n))); errno != 0 {
		return 0
	}
	return int(n)
}
