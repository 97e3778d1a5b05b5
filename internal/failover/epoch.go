package failover

import (
	"errors"
	"fmt"
)

// Epoch identifies one life of the store's contents. Every probe increments its counter in the
// store itself, so comparing it with the last one seen shows whether the store still has its data.
// A store without epochs returns the zero Epoch and is never found lost.
type Epoch struct {
	// Incarnation is created when the store has none (at the first probe, or after the store was
	// emptied), and by Renew.
	Incarnation string `json:"incarnation,omitempty"`
	// Counter counts the probes of all gateways in this incarnation, from 1.
	Counter int64 `json:"counter,omitempty"`
	// Server names the processes that hold the store; empty means unknown. A restart or a failover
	// changes it and may have lost the last writes. The counter cannot show so small a loss, since
	// the probes of other gateways soon raise it above what was seen last.
	Server string `json:"server,omitempty"`
}

// ErrLost is the reason for a rejoin when the store works but has lost data: it was emptied,
// restored from an old copy, or evicted the epoch and possibly other keys.
var ErrLost = errors.New("the store has lost data")

// The kinds of loss, worded for people.
var (
	errEmpty     = fmt.Errorf("%w: it came back empty", ErrLost)
	errReplaced  = fmt.Errorf("%w: another gateway found it lost", ErrLost)
	errOld       = fmt.Errorf("%w: an old copy was restored", ErrLost)
	errRestarted = fmt.Errorf("%w: its server was restarted or replaced, the last writes may be missing", ErrLost)
)

// lost compares the epoch that a probe found with the last one seen; nil means that nothing is
// missing.
func lost(last, found Epoch) error {
	switch {
	case last.Incarnation == "" || found.Incarnation == "":
		return nil // nothing to compare, as after a start; a rejoin precedes Up in any case
	case found.Incarnation != last.Incarnation && found.Counter == 1:
		return errEmpty
	case found.Incarnation != last.Incarnation:
		return errReplaced
	case found.Counter <= last.Counter:
		return errOld
	case found.Server != last.Server && found.Server != "" && last.Server != "":
		return errRestarted
	}
	return nil
}
