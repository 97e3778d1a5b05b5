package faultproxy

import "strings"

// Class is a set of what a server knows of a command and makes its refusals
// depend on: the flags of redis-server 7.0's own command table. A command that
// is not in it has a key and nothing else.
type Class uint16

// The classes. A command with subcommands is of the classes of any of them.
const (
	Write     Class = 1 << iota // changes keys
	Grow                        // may need memory (denyoom)
	Script                      // EVAL and its kin, which may do anything
	ByHash                      // EVALSHA, which needs a script that is known
	Keyed                       // has a key, so belongs to a slot
	Ping                        // PING, which a server that cannot persist refuses
	Early                       // answered while loading, and without a master (loading, stale)
	Unbusy                      // answered while a script runs (allow_busy)
	Open                        // answered before authentication (no_auth)
	Handshake                   // what a client does for a connection, not for a request
	Subscribe                   // its answers are pushed
	Alien                       // not understood here: a replica's commands
)

// Writes is what a server refuses that must not change. A real one looks into
// scripts; here every script counts as one that writes.
const Writes = Write | Script

var classes = func() map[string]Class {
	all := map[string]Class{}
	for _, row := range []struct {
		class Class
		names string
	}{
		{Write | Grow, `append bitfield bitop blmove brpoplpush copy decr decrby function geoadd georadius
			georadiusbymember geosearchstore getset hincrby hincrbyfloat hmset hset hsetnx incr incrby incrbyfloat
			linsert lmove lpush lpushx lset mset msetnx pfadd pfdebug pfmerge psetex restore restore-asking rpoplpush
			rpush rpushx sadd sdiffstore set setbit setex setnx setrange sinterstore sort sunionstore xadd xgroup xsetid
			zadd zdiffstore zincrby zinterstore zrangestore zunionstore`},
		{Write, `blmpop blpop brpop bzmpop bzpopmax bzpopmin del expire expireat flushall flushdb getdel getex hdel
			lmpop lpop lrem ltrim migrate move persist pexpire pexpireat rename renamenx rpop smove spop srem swapdb
			unlink xack xautoclaim xclaim xdel xreadgroup xtrim zmpop zpopmax zpopmin zrem zremrangebylex
			zremrangebyrank zremrangebyscore`},
		{Script | Keyed, "eval evalsha fcall"},
		{ByHash | Keyed, "evalsha evalsha_ro"},
		{Early, `acl auth client command config debug discard echo exec hello info lastsave latency monitor multi
			psubscribe publish pubsub punsubscribe quit readonly readwrite replconf reset role select shutdown spublish ssubscribe
			subscribe sunsubscribe time unsubscribe unwatch watch`},
		{Unbusy, "auth discard function hello multi quit replconf reset script shutdown unwatch watch"},
		{Open, "auth hello quit reset"},
		{Ping, "ping"},
		{Handshake, "auth client cluster command hello ping quit readonly readwrite reset select"},
		{Subscribe, "psubscribe punsubscribe ssubscribe subscribe sunsubscribe unsubscribe"},
		{Alien, "psync sync"},
	} {
		for name := range strings.FieldsSeq(row.names) {
			all[strings.ToUpper(name)] |= row.class
		}
	}
	keyless := map[string]bool{}
	for name := range strings.FieldsSeq(`acl asking auth bgrewriteaof bgsave client cluster command config dbsize debug
		discard echo exec failover flushall flushdb function hello info keys lastsave latency lolwut module monitor
		multi pfselftest ping psubscribe psync publish pubsub punsubscribe quit randomkey readonly readwrite replconf
		replicaof reset role save scan script select shutdown slaveof slowlog subscribe swapdb sync time
		unsubscribe unwatch wait`) {
		name = strings.ToUpper(name)
		keyless[name] = true
		all[name] |= 0 // known, though in no class
	}
	for name := range all {
		if !keyless[name] {
			all[name] |= Keyed
		}
	}
	return all
}()

// classOf is the classes of a command by its name in upper case.
func classOf(name string) Class {
	if c, ok := classes[name]; ok {
		return c
	}
	return Keyed
}
