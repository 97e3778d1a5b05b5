package redis

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/failover"
)

// faults are the codes of replies that speak of the server and not of the
// command: until it changes, others will fare no better.
var faults = []string{
	"LOADING", "BUSY", // alive, but not yet or not now
	"READONLY", "MASTERDOWN", "NOREPLICAS", "MISCONF", "OOM", // refuses writes
	"CLUSTERDOWN", "MOVED", // beyond what a client follows by itself
	"NOAUTH", "WRONGPASS", "NOPERM", "DENIED", // not to us
}

// Classify tells internal/failover what an error of a store in this package, or
// of Probe, says about Redis. Errors that are neither of Redis nor of the
// network are a store's own answers; none may start with "redis: ", by which
// go-redis marks its own.
//
// NOSCRIPT is a rejection: it only says that the server has restarted, and
// go-redis sends the script again by itself.
func Classify(err error) failover.Kind {
	var reply redis.Error
	var network net.Error
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return failover.Answer
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, redis.ErrPoolTimeout):
		return failover.Timeout
	case fromClient(err):
		return failover.Fault
	case errors.Is(err, redis.Nil):
		return failover.Answer
	case errors.As(err, &reply):
		return classifyReply(reply.Error())
	case errors.As(err, &network) && network.Timeout():
		return failover.Timeout
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return failover.Fault
	}
	return failover.Answer
}

// fromClient reports whether err is one of go-redis's own, few of which have a
// name: client closed, no cluster node, no Sentinel reachable, a garbled reply.
// It is asked before redis.Nil, which a Sentinel that does not know the service
// wraps in such an error.
func fromClient(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if text := err.Error(); strings.HasPrefix(text, "redis: ") && text != redis.Nil.Error() {
			return true
		}
	}
	return false
}

// noRight is in the reply to a script that wants a command, a key or a channel to
// which the user has no right. Redis from 7.2 says NOPERM there too.
const noRight = "The user executing the script can't "

// classifyReply judges an error reply by its code. Redis before 7 wraps the
// reply to a script's command: "ERR Error running script (…): -OOM command …".
func classifyReply(msg string) failover.Kind {
	if strings.HasPrefix(msg, "ERR max number of clients reached") || strings.Contains(msg, noRight) {
		return failover.Fault
	}
	_, inner, _ := strings.Cut(msg, ": -")
	for _, code := range faults {
		if strings.HasPrefix(msg, code+" ") || strings.HasPrefix(inner, code+" ") {
			return failover.Fault
		}
	}
	return failover.Rejection
}
