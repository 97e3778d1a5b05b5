package faultproxy

import (
	"slices"
	"time"
)

// Named is a fault of the catalogue.
type Named struct {
	Name        string // lower case, for a command line
	Description string // a phrase for a table
	Fault       Fault
}

// Faults is the catalogue, always in the same order: links first, then time,
// refusals, and replies.
func Faults() []Named {
	refuse := func(text string, only, except Class) Fault {
		return Fault{Reply: Reply{Do: Refuse, Error: text, Only: only, Except: except}}
	}
	spoil := func(do Action, only Class, every int) Fault {
		return Fault{Reply: Reply{Do: do, Only: only, Except: Handshake, Every: every}}
	}
	return []Named{
		{"cut", "the server is dead: connections end, new ones are refused", Fault{Link: Cut}},
		{"reset", "connections are reset once", Fault{Reset: true}},
		{"flap", "dead and back every 200 ms", Fault{Link: Cut, Flap: Flap{Up: 200 * time.Millisecond, Down: 200 * time.Millisecond}}},
		{"half-open", "the server hangs: connections stand, nothing is answered", Fault{Link: HalfOpen}},
		{"blackhole", "packets vanish: new connections hang", Fault{Link: Blackhole}},

		{"slow", "replies take 20 to 30 ms more", Fault{Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond}},
		{"too-slow", "replies take a second more", Fault{Delay: time.Second}},
		{"trickle", "replies come at 2,000 bytes a second", Fault{Throttle: 2000}},
		{"pause-writes", "commands that write wait, PING and reads are answered", spoil(Hold, Writes, 0)},

		{"readonly", "a replica: writes are refused, PING and reads are answered", refuse(ErrReadOnly, Writes, 0)},
		{"oom", "memory is full: what needs more is refused", refuse(ErrOOM, Grow|Script, 0)},
		{"misconf", "the server cannot persist: writes and PING are refused", refuse(ErrMisconf, Writes|Ping, 0)},
		{"noreplicas", "too few replicas: writes are refused", refuse(ErrNoReplicas, Writes, 0)},
		{"masterdown", "a replica without its master", refuse(ErrMasterDown, 0, Early)},
		{"loading", "the server is starting", refuse(ErrLoading, 0, Early)},
		{"busy", "a script does not end", refuse(ErrBusy, 0, Unbusy)},
		{"noauth", "a password is asked for", refuse(ErrNoAuth, 0, Open)},
		{"noperm", "the user may not write any more", refuse(ErrNoPerm, Writes, 0)},
		{"clusterdown", "the slots are nobody's", refuse(ErrClusterDown, Keyed, 0)},
		{"noscript", "scripts are forgotten all the time", refuse(ErrNoScript, ByHash, 0)},

		{"drop-reply", "commands are executed, replies never come", spoil(Drop, 0, 0)},
		{"drop-every", "of five replies one never comes", spoil(Drop, 0, 5)},
		{"truncate", "connections end in the middle of a reply", spoil(Truncate, 0, 0)},
		{"garbage", "replies are not RESP", spoil(Garble, 0, 0)},
	}
}

// ByName finds a fault of the catalogue.
func ByName(name string) (Named, bool) {
	all := Faults()
	i := slices.IndexFunc(all, func(n Named) bool { return n.Name == name })
	if i < 0 {
		return Named{}, false
	}
	return all[i], true
}
