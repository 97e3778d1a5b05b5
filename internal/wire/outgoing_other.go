//go:build !linux

package wire

// outgoing is not told here: progress is what the kernel takes.
func outgoing(uintptr) int { return 0 }
