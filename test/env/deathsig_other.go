//go:build !linux

package env

import "os/exec"

// dieWithParent does nothing: the kernel has no parent-death signal.
func dieWithParent(*exec.Cmd) {}
