package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/failover"
)

// reply is an error reply as the server sends it.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

func TestClassify(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, tt := range []struct {
		err  error
		want failover.Kind
	}{
		// The store's own answers.
		{nil, failover.Answer},
		{redis.Nil, failover.Answer},
		{fmt.Errorf("load session: %w", redis.Nil), failover.Answer},
		{errors.New("no such session"), failover.Answer},
		{context.Canceled, failover.Answer},

		// Faults of the command.
		{redis.ErrNoScript, failover.Rejection},
		{redis.ErrCrossSlot, failover.Rejection},
		{reply("WRONGTYPE Operation against a key holding the wrong kind of value script: f52a, on @user_script:26."), failover.Rejection},
		{reply("ERR unknown command 'EVALSHA', with args beginning with: 'x' "), failover.Rejection},
		{reply("ERR Error running script (call to f_ab): @user_script:3: Script attempted to access nonexistent global variable 'x'"), failover.Rejection},
		{reply("BUSYKEY Target key name already exists."), failover.Rejection},
		{reply("TRYAGAIN Multiple keys request during rehashing of slot"), failover.Rejection},
		{reply("EXECABORT Transaction discarded because of previous errors."), failover.Rejection},

		// Timeouts.
		{context.DeadlineExceeded, failover.Timeout},
		{fmt.Errorf("probe redis: %w", context.DeadlineExceeded), failover.Timeout},
		{os.ErrDeadlineExceeded, failover.Timeout},
		{&net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}, failover.Timeout},
		{dial(os.ErrDeadlineExceeded), failover.Timeout},
		{redis.ErrPoolTimeout, failover.Timeout},

		// Faults of the server.
		{dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), failover.Fault},
		{dial(&net.DNSError{Err: "no such host", Name: "redis", IsNotFound: true}), failover.Fault},
		{fmt.Errorf("load: %w", dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH))), failover.Fault},
		{&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, failover.Fault},
		{&net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}, failover.Fault},
		{io.EOF, failover.Fault},
		{io.ErrUnexpectedEOF, failover.Fault},
		{net.ErrClosed, failover.Fault},
		{redis.ErrClosed, failover.Fault},
		{fmt.Errorf("charge: %w", redis.ErrClosed), failover.Fault},
		{errors.New("redis: cluster has no nodes"), failover.Fault},
		{fmt.Errorf("probe redis: %w", errors.New(`redis: can't parse map reply: "HTTP/1.1 400 Bad Request"`)), failover.Fault},
		{fmt.Errorf("redis: all sentinels specified in configuration are unreachable: %w", errors.Join(redis.Nil)), failover.Fault},
		{reply("LOADING Redis is loading the dataset in memory"), failover.Fault},
		{reply("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."), failover.Fault},
		{reply("READONLY You can't write against a read only replica."), failover.Fault},
		{reply("READONLY You can't write against a read only replica. script: de9d, on @user_script:3."), failover.Fault},
		{reply("ERR Error running script (call to f_ab): @user_script:3: -READONLY You can't write against a read only replica."), failover.Fault},
		{reply("ERR Error running script (call to f_ab): @user_script:3: @user_script: 3: -OOM command not allowed when used memory > 'maxmemory'."), failover.Fault},
		{reply("OOM command not allowed when used memory > 'maxmemory'. script: de9d, on @user_script:3."), failover.Fault},
		{reply("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk."), failover.Fault},
		{reply("NOREPLICAS Not enough good replicas to write."), failover.Fault},
		{reply("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."), failover.Fault},
		{reply("CLUSTERDOWN The cluster is down"), failover.Fault},
		{reply("CLUSTERDOWN Hash slot not served"), failover.Fault},
		{reply("MOVED 3999 127.0.0.1:6381"), failover.Fault},
		{reply("NOAUTH Authentication required."), failover.Fault},
		{reply("WRONGPASS invalid username-password pair or user is disabled."), failover.Fault},
		{reply("NOPERM this user has no permissions to run the 'evalsha' command"), failover.Fault},
		{reply("NOPERM ACL failure in script: this user has no permissions to run the 'set' command script: db8d, on @user_script:1."), failover.Fault},
		{reply("ERR The user executing the script can't run this command or subcommand script: db8d, on @user_script:1."), failover.Fault},
		{reply("ERR The user executing the script can't access at least one of the keys mentioned in the command arguments script: d98d, on @user_script:1."), failover.Fault},
		{reply("DENIED Redis is running in protected mode because protected mode is enabled"), failover.Fault},
		{reply("ERR max number of clients reached"), failover.Fault},
		{fmt.Errorf("charge: %w", reply("LOADING Redis is loading the dataset in memory")), failover.Fault},
	} {
		if got := Classify(tt.err); got != tt.want {
			t.Errorf("%v: kind %d, want %d", tt.err, got, tt.want)
		}
	}
}
