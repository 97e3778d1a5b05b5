// Package systemd tells the service manager how this process is doing (sd_notify(3)). Where no service manager
// listens, all of it does nothing. The sockets that systemd passes are internal/wire's.
package systemd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// tell sends one message. One that is not taken is lost: the service manager would end the process, not this one.
func tell(lines ...string) { _, _ = daemon.SdNotify(false, strings.Join(lines, "\n")) }

// status is what `systemctl status` shows: one line.
func status(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", "; ") }

// Ready tells that the process serves, for Type=notify.
func Ready(text string) { tell("READY=1", status(text)) }

// Reloaded tells that a reload is over, whatever came of it, for Type=notify-reload.
func Reloaded(text string) {
	tell("RELOADING=1", daemon.SdNotifyMonotonicUsec())
	Ready(text)
}

// Stopping tells that the process ends by itself within most.
func Stopping(most time.Duration) {
	tell("STOPPING=1", fmt.Sprint("EXTEND_TIMEOUT_USEC=", most.Microseconds()), status("draining"))
}

// Watch tells every half of WatchdogSec that the process is alive, until ctx is done. It calls alive first: while that
// does not return, nothing is told, and the service manager starts the process anew.
func Watch(ctx context.Context, alive func()) {
	most, err := daemon.SdWatchdogEnabled(false)
	if err != nil || most == 0 { // not wanted, or not of this process
		return
	}
	turns := time.NewTicker(most / 2)
	defer turns.Stop()
	for {
		alive()
		tell("WATCHDOG=1")
		select {
		case <-ctx.Done():
			return
		case <-turns.C:
		}
	}
}
