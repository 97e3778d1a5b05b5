package redis_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/storetest"
)

func sessionClient(t *testing.T, addr string) *goredis.Client {
	client := goredis.NewClient(&goredis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func sessionOf(user string) (session.Ref, session.Record) {
	now := time.Now().Truncate(time.Millisecond)
	seal := session.Seal{ID: session.NewID(), Claims: session.Claims{
		Generation: 1, User: user, Issued: now, Idle: now.Add(time.Hour), Absolute: now.Add(24 * time.Hour),
	}}
	return seal.Ref(), session.Record{Claims: seal.Claims}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	storetest.Sessions(t, func(t *testing.T) storetest.SessionStore {
		client := sessionClient(t, server.Addr)
		if err := client.FlushAll(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		return storetest.SessionStore{Store: redis.NewSessions(client, time.Now), Now: time.Now, Sleep: time.Sleep}
	})
}

func TestSessionKeysAreOursAndExpire(t *testing.T) {
	t.Parallel()
	ctx, client := context.Background(), sessionClient(t, env.Redis(t).Addr)
	s := redis.NewSessions(client, time.Now)
	ref, rec := sessionOf("forty-two")
	gone, _ := sessionOf("forty-two")
	if err := errors.Join(s.Save(ctx, ref.Key, rec), s.Revoke(ctx, []session.Revocation{
		gone.Revocation(), session.RevokeUser("someone", time.Now(), time.Now().Add(time.Hour)),
	})); err != nil {
		t.Fatal(err)
	}
	keys := client.Keys(ctx, "*").Val()
	if len(keys) != 3 {
		t.Fatalf("keys %q, want a record and two revocations", keys)
	}
	for _, key := range keys {
		ttl := client.PTTL(ctx, key).Val()
		if !strings.HasPrefix(key, "gw:{") || strings.Contains(key, "someone") || ttl <= 59*time.Minute || ttl > 24*time.Hour {
			t.Errorf("key %q with a time to live of %v", key, ttl)
		}
	}
	if v := client.Get(ctx, "gw:{s:"+ref.Key+"}").Val(); !strings.HasPrefix(v, `{"v":1,"g":1,`) {
		t.Errorf("the record is %q", v)
	}
}

func TestARecordThatNobodyCanReadIsAsGoodAsNone(t *testing.T) {
	t.Parallel()
	ctx, client := context.Background(), sessionClient(t, env.Redis(t).Addr)
	s := redis.NewSessions(client, time.Now)
	for _, stored := range []string{"", "\x80\x04pickle", `"text"`, `{"v":2,"g":1}`, `{"v":1,"g":-1}`, `{"v":1,"g":"9"}`, `[]`} {
		ref, rec := sessionOf("42")
		client.Set(ctx, "gw:{s:"+ref.Key+"}", stored, time.Hour)
		if _, err := s.Load(ctx, ref); !errors.Is(err, session.ErrUnknown) {
			t.Errorf("%q: Load: %v, want ErrUnknown", stored, err)
		}
		rec.Generation = 2
		if err := s.Save(ctx, ref.Key, rec); err != nil {
			t.Errorf("%q: Save: %v", stored, err)
		}
		if got, err := s.Load(ctx, ref); err != nil || got.User != "42" {
			t.Errorf("%q: after Save: %+v, %v", stored, got, err)
		}
	}
}

func TestSessionsAreMadeWhileRedisIsDown(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	server.Kill()
	client := sessionClient(t, server.Addr)
	s := redis.NewSessions(client, time.Now)
	ctx := context.Background()
	ref, rec := sessionOf("42")
	_, loadErr := s.Load(ctx, ref)
	for what, err := range map[string]error{
		"Load":   loadErr,
		"Save":   s.Save(ctx, ref.Key, rec),
		"Revoke": s.Revoke(ctx, []session.Revocation{ref.Revocation()}),
	} {
		if redis.Classify(err) != failover.Fault {
			t.Errorf("%s while down: %v, want a fault", what, err)
		}
	}
	server.Restart(true)
	if _, err := s.Load(ctx, ref); !errors.Is(err, session.ErrUnknown) {
		t.Errorf("Load once it is up: %v, want ErrUnknown", err)
	}
	if err := s.Save(ctx, ref.Key, rec); err != nil {
		t.Errorf("Save once it is up: %v", err)
	}
}

func TestACanceledCallIsNoUnknownSession(t *testing.T) {
	t.Parallel()
	s := redis.NewSessions(sessionClient(t, env.Redis(t).Addr), time.Now)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	ref, _ := sessionOf("42")
	if _, err := s.Load(ctx, ref); !errors.Is(err, context.Canceled) {
		t.Errorf("Load: %v, want context.Canceled", err)
	}
}
