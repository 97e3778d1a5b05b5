package redis_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/test/env"
)

func TestFills(t *testing.T) {
	t.Parallel()
	client := cacheClient(t, env.Redis(t).URL)
	fills, ctx := redis.NewFills(client), t.Context()
	entry := &cache.Entry{Status: 200, Header: http.Header{"Etag": {`"1"`}}, Received: time.Now()}
	claim := func(owner string) string {
		mine, err := fills.Claim(ctx, "k", owner, time.Minute)
		return fmt.Sprint(mine, " ", err)
	}
	tell := func(owner string, news cache.Fill) string {
		followed, err := fills.Tell(ctx, "k", owner, news, time.Minute)
		return fmt.Sprint(followed, " ", err != nil)
	}
	follow := func(at int64) string {
		fill, found, err := fills.Follow(ctx, "k", at)
		status := 0
		if fill.Entry != nil {
			status = fill.Entry.Status
		}
		return fmt.Sprintf("%v %d of %d %q %v %v", found, status, fill.Length, fill.Body, fill.Done, err)
	}
	for i, step := range []struct{ says, got, want string }{
		{"nobody fills", follow(0), `false 0 of 0 "" false <nil>`},
		{"the first one does", claim("a"), "true <nil>"},
		{"not the second", claim("b"), "false <nil>"},
		{"which may not tell of it", tell("b", cache.Fill{Entry: entry, Length: 1}), "false true"},
		{"nobody reads along", tell("a", cache.Fill{}), "false false"},
		{"b does, before the head", follow(0), `true 0 of 0 "" false <nil>`},
		{"a sees that, and has all of the body untold", tell("a", cache.Fill{Entry: entry, Length: 6, Done: true}), "true false"},
		{"the head", follow(0), `true 200 of 6 "" false <nil>`},
		{"half of the body", tell("a", cache.Fill{Body: []byte("abc")}), "true false"},
		{"the same once more", tell("a", cache.Fill{Body: []byte("abc")}), "true false"},
		{"all of that half", follow(0), `true 200 of 6 "abc" false <nil>`},
		{"a part of it", follow(2), `true 200 of 6 "c" false <nil>`},
		{"an end without the rest is none", tell("a", cache.Fill{At: 3, Length: 6, Done: true}), "true false"},
		{"it goes on", follow(3), `true 200 of 6 "" false <nil>`},
		{"the rest", tell("a", cache.Fill{At: 3, Length: 6, Body: []byte("def"), Done: true}), "true false"},
		{"is read", follow(3), `true 200 of 6 "def" true <nil>`},
	} {
		if step.got != step.want {
			t.Errorf("%d, %s: %s, want %s", i, step.says, step.got, step.want)
		}
	}
	for _, key := range []string{"gw:{c:k}:f", "gw:{c:k}:b"} {
		if ttl := client.PTTL(ctx, key).Val(); ttl <= 0 || ttl > time.Minute {
			t.Errorf("%s lives for %v", key, ttl)
		}
	}
}

// A fill that nobody reads along with, or that is of no use to others, leaves nothing behind.
func TestFillsEnd(t *testing.T) {
	t.Parallel()
	client := cacheClient(t, env.Redis(t).URL)
	fills, ctx := redis.NewFills(client), t.Context()
	entry := &cache.Entry{Status: 200, Header: http.Header{}, Received: time.Now()}
	for says, end := range map[string]func(key string) error{
		"nobody reads along": func(key string) error {
			_, err := fills.Tell(ctx, key, "a", cache.Fill{Entry: entry, Length: 1, Done: true}, time.Minute)
			return err
		},
		"the answer is one client's": func(key string) error {
			if _, _, err := fills.Follow(ctx, key, 0); err != nil {
				return err
			}
			return errors.Join(fills.Drop(ctx, key, "b"), fills.Drop(ctx, key, "a"))
		},
		"its gateway has gone": func(string) error { time.Sleep(100 * time.Millisecond); return nil },
	} {
		lease := time.Minute
		if says == "its gateway has gone" {
			lease = 50 * time.Millisecond
		}
		if _, err := fills.Claim(ctx, says, "a", lease); err != nil {
			t.Fatal(err)
		}
		if err := end(says); err != nil {
			t.Errorf("%s: %v", says, err)
		}
		if _, found, err := fills.Follow(ctx, says, 0); found || err != nil {
			t.Errorf("%s: %v, %v", says, found, err)
		}
		if mine, err := fills.Claim(ctx, says, "b", time.Second); !mine || err != nil {
			t.Errorf("%s: another one fills: %v, %v", says, mine, err)
		}
	}
}
