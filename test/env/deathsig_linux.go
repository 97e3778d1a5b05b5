package env

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends cmd with the test binary, which runs no cleanups when it panics or times out.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
