package faultproxy

import (
	"errors"
	"strings"
	"sync/atomic"
	"time"
)

// Fault is what is wrong between client and server. Its parts go together; the
// zero Fault passes everything.
type Fault struct {
	// Link is what is wrong with connections.
	Link Link
	// Reset resets (RST) the connections that stand, once, when the fault is set.
	Reset bool
	// Flap turns the rest of the fault on and off; the zero Flap: it stays on.
	Flap Flap
	// Delay holds replies up, and a random time below Jitter more. What arrives
	// together, as a pipeline's replies do, waits once. The handshake waits too.
	Delay, Jitter time.Duration
	// Throttle is how many bytes of replies a second a connection gets; 0: all.
	Throttle int
	// Reply is what is wrong with single commands and their replies.
	Reply Reply
}

// Link is a fault of connections.
type Link uint8

const (
	// Whole passes connections.
	Whole Link = iota
	// Cut is a server that has died: connections are closed, new ones refused.
	Cut
	// HalfOpen is a server that hangs, or a peer that is gone without a word:
	// connections are accepted and stand, what is sent goes nowhere, and nothing
	// comes. Those that lost bytes are reset when the fault is over, as a peer
	// does that knows nothing of them.
	HalfOpen
	// Blackhole is a network that drops everything: existing connections are as
	// in HalfOpen, and new ones hang before they are accepted, by a listener
	// whose backlog is full. That works on Linux; elsewhere, or where the backlog
	// cannot be filled, new ones are as in HalfOpen too.
	Blackhole
)

// Flap is a fault that comes and goes: on for Down, first, then off for Up.
type Flap struct{ Up, Down time.Duration }

// Action is what becomes of a command or its reply.
type Action uint8

const (
	// Pass leaves both alone.
	Pass Action = iota
	// Refuse answers the command with Reply.Error. The server is sent a PING in
	// its place, whose reply makes room for the error's, and a transaction with
	// a refused command is discarded, as a server does it.
	Refuse
	// Hold withholds the command, and what follows on its connection, until the
	// fault is another; then it is executed, however late.
	Hold
	// Drop lets the server execute the command and swallows its reply and all
	// that would follow on its connection, which is reset when the fault is over.
	Drop
	// Truncate closes the connection in the middle of the reply.
	Truncate
	// Garble replaces the reply with a line that is not RESP. The connection is
	// reset when the fault is over.
	Garble
)

// Reply is a fault of commands. It hits every command that is of a class in Only
// (0: any) and of none in Except; of these, where Every is above one, each
// Every-th, counted over all connections.
type Reply struct {
	Do           Action
	Error        string // for Refuse: a line without the "-"; %s is the command's name
	Only, Except Class
	Every        int
}

// What redis-server 7.0 says, word for word. To a script it adds which one, and
// where it was.
const (
	ErrReadOnly    = "READONLY You can't write against a read only replica."
	ErrOOM         = "OOM command not allowed when used memory > 'maxmemory'."
	ErrMisconf     = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error."
	ErrNoReplicas  = "NOREPLICAS Not enough good replicas to write."
	ErrMasterDown  = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
	ErrLoading     = "LOADING Redis is loading the dataset in memory"
	ErrBusy        = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
	ErrNoAuth      = "NOAUTH Authentication required."
	ErrNoPerm      = "NOPERM this user has no permissions to run the '%s' command"
	ErrClusterDown = "CLUSTERDOWN Hash slot not served"
	ErrNoScript    = "NOSCRIPT No matching script. Please use EVAL."

	errExecAbort   = "EXECABORT Transaction discarded because of previous errors."
	errExecRefused = "EXECABORT Transaction discarded because of: " // the refusal of EXEC itself
	errAlien       = "ERR not through a proxy that must match replies to commands"
	garbled        = "\x7fgarbled\r\n"
)

func (f Fault) validate() error {
	switch {
	case f.Link > Blackhole, f.Reply.Do > Garble:
		return errors.New("no such fault")
	case f.Delay < 0, f.Jitter < 0, f.Throttle < 0, f.Flap.Up < 0, f.Flap.Down < 0, f.Reply.Every < 0:
		return errors.New("less than nothing")
	case (f.Flap.Up > 0) != (f.Flap.Down > 0):
		return errors.New("a flap needs both times")
	case f.Reply.Do == Refuse && (f.Reply.Error == "" || strings.ContainsAny(f.Reply.Error, "\r\n")):
		return errors.New("an error reply is one line")
	}
	return nil
}

// silent reports whether nothing goes through.
func (f *Fault) silent() bool { return f.Link == HalfOpen || f.Link == Blackhole }

// loses reports whether connections stand that have lost something.
func (f *Fault) loses() bool { return f.silent() || f.Reply.Do == Drop || f.Reply.Do == Garble }

// condition is the fault of the moment.
type condition struct {
	Fault
	hits    atomic.Int64  // commands that Reply's classes matched
	changed chan struct{} // closed when another fault is set
}

// matches reports whether Reply is for commands of class c.
func (c *condition) matches(class Class) bool {
	r := &c.Reply
	return r.Do != Pass && class&r.Except == 0 && (r.Only == 0 || class&r.Only != 0)
}

// hit is matches, for one command of those that Every counts.
func (c *condition) hit(class Class) bool {
	return c.matches(class) && (c.Reply.Every <= 1 || c.hits.Add(1)%int64(c.Reply.Every) == 0)
}
