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

// faults are the codes of error replies that are about the server and not about the command: until
// the server's state changes, other commands will fail too.
var faults = []string{
	"LOADING", "BUSY", // alive, but not ready
	"READONLY", "MASTERDOWN", "NOREPLICAS", "MISCONF", "OOM", // refuses writes
	"CLUSTERDOWN", "MOVED", // beyond the redirects that a client follows by itself
	"NOAUTH", "WRONGPASS", "NOPERM", "DENIED", // refuses this gateway
}

// Classify tells internal/failover what an error of a store in this package, or of Probe, says
// about Redis. An error that comes neither from Redis nor from the network is a store's own answer;
// such an error must not start with "redis: ", the prefix of go-redis's own errors.
//
// NOSCRIPT is a rejection: it only says that the server has restarted, and go-redis resends the
// script by itself.
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

// fromClient reports whether err is one of go-redis's own, few of which are exported: client
// closed, no cluster node, no reachable Sentinel, a garbled reply. Check it before redis.Nil: if a
// Sentinel does not know the service, go-redis wraps redis.Nil in such an error.
func fromClient(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if text := err.Error(); strings.HasPrefix(text, "redis: ") && text != redis.Nil.Error() {
			return true
		}
	}
	return false
}

// noRight is in the error of a script that uses a command, key or channel for which the user has no
// right. Redis 7.2 and later report NOPERM there too.
const noRight = "The user executing the script can't "

// classifyReply classifies an error reply by its code. Redis before 7 wraps the error of a script's
// command: "ERR Error running script (…): -OOM command …".
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
