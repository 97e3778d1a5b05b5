//go:build !linux

package wire

// outgoing is unknown here: only bytes that the kernel takes count as progress.
func outgoing(uintptr) int { return 0 }
