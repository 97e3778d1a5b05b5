package faultproxy

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Fault is what is wrong between client and server. Its parts can be combined. The zero Fault passes
// everything.
type Fault struct {
	// Link is what is wrong with connections.
	Link Link
	// Reset resets (RST) the existing connections once, when the fault is set.
	Reset bool
	// Flap turns the rest of the fault on and off; the zero Flap: it stays on.
	Flap Flap
	// Delay delays replies, by an additional random time below Jitter. Replies that arrive together, as
	// in a pipeline, wait once. The handshake waits too.
	Delay, Jitter time.Duration

	// Answer is a line that is sent in place of a reply, such as "-LOADING …". The server does not see
	// the command.
	Answer string
	// Drop lets the server execute a command, but drops its reply and everything after it on the
	// connection, which is reset when the fault is over.
	Drop bool
	// Only names the commands that Answer and Drop apply to; none: all except those of a handshake. If
	// Every is above one, only every Every-th of them is hit, counted over all connections.
	Only  []string
	Every int
}

// Link is a fault of connections.
type Link uint8

const (
	// Whole passes connections.
	Whole Link = iota
	// Cut is a server that has died: connections are closed, new ones refused.
	Cut
	// HalfOpen is a server that hangs, or a peer that vanished silently: connections are accepted and
	// stay open, but bytes are lost and nothing comes back. Connections that lost bytes are reset when
	// the fault is over, as by a peer that does not know them.
	HalfOpen
	// Blackhole is a network that drops everything: existing connections are as in HalfOpen, and new
	// ones hang in a listener whose backlog is full. That needs Linux; elsewhere, or if the backlog
	// cannot be filled, new ones are as in HalfOpen too.
	Blackhole
)

// Flap is a fault that comes and goes: first on for Down, then off for Up.
type Flap struct{ Up, Down time.Duration }

// Writes lists the commands of a gateway that a read-only server refuses.
var Writes = []string{"EVAL", "EVALSHA", "SET", "SETEX", "DEL", "UNLINK", "EXPIRE", "PEXPIRE", "INCR", "HSET", "ZADD", "ZREM"}

// handshake lists commands that a client sends for a connection, not for a request.
var handshake = []string{"AUTH", "CLIENT", "CLUSTER", "COMMAND", "HELLO", "READONLY", "SELECT"}

// Named is a fault of the catalogue.
type Named struct {
	Name        string // lower case, for a command line
	Description string // a phrase for a table
	Fault       Fault
	Steady      bool // Redis is unusable until it is over
}

// Faults is the catalogue, always in the same order: links, time, and replies, with the errors of
// redis-server 7.0.
func Faults() []Named {
	const readOnly, noPerm = "-READONLY You can't write against a read only replica.", "-NOPERM this user has no permissions to run the 'evalsha' command"
	return []Named{
		{"cut", "the server is dead: connections end, new ones are refused", Fault{Link: Cut}, true},
		{"reset", "connections are reset once", Fault{Reset: true}, false},
		{"flap", "dead and back every 200 ms", Fault{Link: Cut, Flap: Flap{Up: 200 * time.Millisecond, Down: 200 * time.Millisecond}}, false},
		{"half-open", "the server hangs: connections stay open, nothing is answered", Fault{Link: HalfOpen}, true},
		{"blackhole", "packets vanish: new connections hang", Fault{Link: Blackhole}, true},

		{"slow", "replies take 20 to 30 ms more", Fault{Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond}, false},
		{"too-slow", "replies take a second more", Fault{Delay: time.Second}, true},

		{"readonly", "a replica: writes are refused, PING and reads are answered", Fault{Answer: readOnly, Only: Writes}, true},
		{"oom", "memory is full: writes are refused", Fault{Answer: "-OOM command not allowed when used memory > 'maxmemory'.", Only: Writes}, true},
		{"misconf", "the server cannot persist: writes and PING are refused", Fault{Answer: "-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", Only: append([]string{"PING"}, Writes...)}, true},
		{"noreplicas", "too few replicas: writes are refused", Fault{Answer: "-NOREPLICAS Not enough good replicas to write.", Only: Writes}, true},
		{"masterdown", "a replica without its master", Fault{Answer: "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."}, true},
		{"loading", "the server is starting", Fault{Answer: Loading}, true},
		{"busy", "a script does not end", Fault{Answer: "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."}, true},
		{"noauth", "a password is required", Fault{Answer: "-NOAUTH Authentication required."}, true},
		{"noperm", "the user may not write any more", Fault{Answer: noPerm, Only: Writes}, true},
		{"clusterdown", "no node serves the slots", Fault{Answer: "-CLUSTERDOWN Hash slot not served"}, true},
		{"noscript", "scripts are forgotten all the time", Fault{Answer: "-NOSCRIPT No matching script. Please use EVAL.", Only: []string{"EVALSHA"}}, false},
		{"garbage", "replies are not RESP", Fault{Answer: "\x7fgarbage"}, true},

		{"drop-reply", "commands are executed, replies never come", Fault{Drop: true}, true},
		{"drop-every", "every fifth reply never comes", Fault{Drop: true, Every: 5}, false},
	}
}

// Loading is the reply of a server that is starting.
const Loading = "-LOADING Redis is loading the dataset in memory"

func (f Fault) validate() error {
	switch {
	case f.Link > Blackhole:
		return errors.New("unknown link fault")
	case f.Delay < 0, f.Jitter < 0, f.Flap.Up < 0, f.Flap.Down < 0, f.Every < 0:
		return errors.New("negative value")
	case (f.Flap.Up > 0) != (f.Flap.Down > 0):
		return errors.New("a flap needs both Up and Down")
	case strings.ContainsAny(f.Answer, "\r\n"):
		return errors.New("an answer must be one line")
	}
	return nil
}

// silent reports whether nothing gets through.
func (f *Fault) silent() bool { return f.Link == HalfOpen || f.Link == Blackhole }

// condition is the current fault.
type condition struct {
	Fault
	hits    atomic.Int64  // commands that Only names
	changed chan struct{} // closed when another fault is set
}

// hit reports whether Answer or Drop applies to a command.
func (c *condition) hit(name string) bool {
	if c.Answer == "" && !c.Drop {
		return false
	}
	meant := slices.Contains(c.Only, name) || len(c.Only) == 0 && !slices.Contains(handshake, name)
	return meant && (c.Every <= 1 || c.hits.Add(1)%int64(c.Every) == 0)
}
