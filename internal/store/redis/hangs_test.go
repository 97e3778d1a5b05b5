package redis_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/test/env"
)

// command sends one command to a server that may be slow to answer, with a password if one is
// given, on its own connection.
func command(t *testing.T, s *env.RedisServer, password string, args ...any) error {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{Addr: s.Addr, Password: password, ReadTimeout: time.Minute, MaxRetries: -1})
	defer client.Close()
	return client.Do(t.Context(), args...).Err()
}

// mustTrip calls until the Switch trips, and returns the reason. Every call is answered in time.
func (g *gateway) mustTrip(t *testing.T, since uint64) (reason error) {
	t.Helper()
	env.Eventually(t, recovery, func() error {
		g.take(t)
		st := g.Status()
		if st.Generation == since {
			return fmt.Errorf("still Up: %+v", st)
		}
		reason = st.History[len(st.History)-1].Reason
		return nil
	})
	return reason
}

// TestServerThatIsBusyWithItself runs servers that are alive but refuse or hang for a while, until
// it passes by itself or its cause is removed.
func TestServerThatIsBusyWithItself(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		args   []string
		begin  func(t *testing.T, s *env.RedisServer) // starts the fault and returns
		end    func(t *testing.T, s *env.RedisServer) // nil: it ends by itself
		reason string                                 // "": a timeout
	}{
		{
			name: "it sleeps", args: []string{"--enable-debug-command", "yes"},
			begin: func(t *testing.T, s *env.RedisServer) { during(t, s, "DEBUG", "SLEEP", "3") },
		},
		{
			name: "a script does not end", args: []string{"--busy-reply-threshold", "1"},
			begin: func(t *testing.T, s *env.RedisServer) {
				during(t, s, "EVAL", "while true do end", "0")
				awaitReply(t, s, "BUSY", "PING")
			},
			end:    func(t *testing.T, s *env.RedisServer) { admin(t, s, "SCRIPT KILL") },
			reason: "BUSY",
		},
		{
			name: "it loads its data", args: []string{"--enable-debug-command", "yes", "--rdbcompression", "no", "--loading-process-events-interval-bytes", "1024"},
			begin: func(t *testing.T, s *env.RedisServer) {
				if err := command(t, s, "", "EVAL", "for i=1,200 do redis.call('SET',i,string.rep('x',1000)) end return 1", "0"); err != nil {
					t.Fatal(err)
				}
				admin(t, s, "CONFIG SET key-load-delay 10000") // 2 s for all keys
				during(t, s, "DEBUG", "RELOAD")
				awaitReply(t, s, "LOADING", "GET", "x")
			},
			reason: "LOADING",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := env.Redis(t, tt.args...)
			g := newGateway(t, redis.Config{URL: server.URL})
			g.mustServe(t)
			since := g.Status().Generation
			tt.begin(t, server)
			reason := g.mustTrip(t, since)
			if tt.reason == "" && redis.Classify(reason) != failover.Timeout || !strings.Contains(reason.Error(), tt.reason) {
				t.Errorf("reason: %v, want %s", reason, tt.reason)
			}
			g.mustTakeLocally(t)
			if tt.end != nil {
				tt.end(t, server)
			}
			g.mustReturn(t, since, 2*recovery)
		})
	}
}

// during sends a command and does not wait for its reply until the test ends.
func during(t *testing.T, s *env.RedisServer, args ...any) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	client := goredis.NewClient(&goredis.Options{Addr: s.Addr, ReadTimeout: time.Minute, MaxRetries: -1})
	ended := make(chan struct{})
	if err := client.Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(ended)
		_ = client.Do(ctx, args...).Err() // the error of a killed script
	}()
	t.Cleanup(func() {
		cancel()
		_ = client.Close() // ends the wait
		<-ended
	})
}

// awaitReply calls until the server refuses with this code.
func awaitReply(t *testing.T, s *env.RedisServer, code string, args ...any) {
	t.Helper()
	env.Eventually(t, recovery, func() error {
		if err := command(t, s, "", args...); err == nil || !strings.HasPrefix(err.Error(), code) {
			return fmt.Errorf("%v: %w, want %s", args, err, code)
		}
		return nil
	})
}

// TestServerThatCannotPersist removes the folder of a server that saves.
func TestServerThatCannotPersist(t *testing.T) {
	t.Parallel()
	server := env.Redis(t, "--enable-protected-configs", "yes", "--save", "3600 1000000")
	g := newGateway(t, redis.Config{URL: server.URL})
	g.mustServe(t)
	since := g.Status().Generation
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	admin(t, server, "CONFIG SET dir "+dir, "CONFIG SET dbfilename x.rdb")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	admin(t, server, "BGSAVE")
	if reason := g.mustTrip(t, since); !strings.Contains(reason.Error(), "MISCONF") {
		t.Errorf("reason: %v", reason)
	}
	g.mustTakeLocally(t)
	admin(t, server, "CONFIG SET dir "+t.TempDir(), "BGSAVE")
	g.mustReturn(t, since, 2*recovery)
}

// TestPasswordThatIsAskedForNow sets a password on the server of a gateway without one. Existing
// connections stay valid; the next one is refused.
func TestPasswordThatIsAskedForNow(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	g := newGateway(t, redis.Config{URL: server.URL})
	g.mustServe(t)
	since := g.Status().Generation
	admin(t, server, "CONFIG SET requirepass open-sesame", "CLIENT KILL TYPE normal SKIPME yes")
	if reason := g.mustTrip(t, since); !strings.Contains(reason.Error(), "NOAUTH") && !isClosed(reason) {
		t.Errorf("reason: %v", reason)
	}
	g.mustTakeLocally(t)
	env.Until(t, "NOAUTH", func() bool { return strings.Contains(g.Status().Reason.Error(), "NOAUTH") })
	if err := command(t, server, "open-sesame", "CONFIG", "SET", "requirepass", ""); err != nil {
		t.Fatal(err)
	}
	g.mustReturn(t, since, recovery)
}

// isClosed reports whether the connection was closed during the call.
func isClosed(err error) bool {
	return redis.Classify(err) == failover.Fault && !errors.As(err, new(goredis.Error))
}

// TestBlackhole drops packets under load, so that connections and dials hang.
func TestBlackhole(t *testing.T) {
	t.Parallel()
	url, hang, heal := blackhole(t, env.Redis(t))
	g := newGateway(t, redis.Config{URL: url, Budget: callBudget})
	g.mustServe(t)
	since := g.Status().Generation
	l := newLoad(t, g)
	time.Sleep(200 * time.Millisecond)
	hang()
	if reason := g.mustBecome(t, failover.Down); redis.Classify(reason) != failover.Timeout {
		t.Errorf("reason: %v", reason)
	}
	time.Sleep(1500 * time.Millisecond)
	heal()
	g.mustReturn(t, since, 2*recovery)
	l.end(t)
}
