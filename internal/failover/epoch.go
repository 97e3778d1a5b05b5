package failover

import (
	"errors"
	"fmt"
)

// Epoch tells one life of the store's contents from another. Every probe counts
// it up in the store itself, so that whoever compares it with what was seen last
// knows whether the store still holds what it held. The zero Epoch says nothing:
// a store that has none is never found lost.
type Epoch struct {
	// Incarnation is made when the store has none: at its first probe, and
	// after it was emptied. Renew makes one too.
	Incarnation string `json:"incarnation,omitempty"`
	// Counter counts the probes of all gateways in the incarnation; the first
	// is 1.
	Counter int64 `json:"counter,omitempty"`
	// Server names the processes that hold the store. A restart or a failover
	// changes it, and may have cost writes of the last moments, which are too
	// few for the counter to tell: the probes of other gateways count it up
	// past what was seen last. Empty: unknown.
	Server string `json:"server,omitempty"`
}

// ErrLost is the reason for a rejoin where the store works, but does not hold
// what it held: it was emptied, restored from an old copy, or evicted the epoch,
// and with it who knows what else.
var ErrLost = errors.New("the store has lost data")

// What is known about a loss, for people.
var (
	errEmpty     = fmt.Errorf("%w: it came back empty", ErrLost)
	errReplaced  = fmt.Errorf("%w: another gateway found it lost", ErrLost)
	errOld       = fmt.Errorf("%w: an old copy was restored", ErrLost)
	errRestarted = fmt.Errorf("%w: its server was restarted or replaced, the last writes may be missing", ErrLost)
)

// lost judges what a probe found by what was seen last; nil: nothing is missing.
func lost(last, found Epoch) error {
	switch {
	case last.Incarnation == "" || found.Incarnation == "":
		return nil // nothing to compare, as after a start: a rejoin precedes Up in any case
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
