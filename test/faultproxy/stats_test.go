package faultproxy

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	goredis "github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/test/env"
)

func TestCounts(t *testing.T) {
	t.Parallel()
	p := between(t, env.Redis(t).Addr)
	client, err := redis.Open(redis.Config{URL: p.URL(), Budget: budget, PoolSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.Set(t.Context(), "k", "v", 0)
	if _, err := client.Pipelined(t.Context(), func(p goredis.Pipeliner) error { return p.Ping(t.Context()).Err() }); err != nil {
		t.Fatal(err) // pipelines may have connections of their own
	}
	script := goredis.NewScript("return redis.call('SET', KEYS[1], ARGV[1])")
	p.SetAside("probe")
	type counts = map[string]int64
	for _, tt := range []struct {
		sentence string
		do       func(context.Context) error
		want     Stats
	}{
		{
			"a command",
			func(ctx context.Context) error { return client.Get(ctx, "k").Err() },
			Stats{RoundTrips: 1, Commands: counts{"GET": 1}},
		},
		{
			"two commands one after the other",
			func(ctx context.Context) error { client.Get(ctx, "k"); return client.Get(ctx, "k").Err() },
			Stats{RoundTrips: 2, Commands: counts{"GET": 2}},
		},
		{
			"a pipeline",
			func(ctx context.Context) error {
				_, err := client.Pipelined(ctx, func(p goredis.Pipeliner) error {
					for range 20 {
						p.Incr(ctx, "n")
						p.Get(ctx, "n")
					}
					return nil
				})
				return err
			},
			Stats{RoundTrips: 1, Commands: counts{"INCR": 20, "GET": 20}},
		},
		{
			"a script that is not known yet",
			func(ctx context.Context) error { return script.Run(ctx, client, []string{"k"}, "v").Err() },
			Stats{RoundTrips: 2, Commands: counts{"EVALSHA": 1, "EVAL": 1}},
		},
		{
			"and now is",
			func(ctx context.Context) error { return script.Run(ctx, client, []string{"k"}, "v").Err() },
			Stats{RoundTrips: 1, Commands: counts{"EVALSHA": 1}},
		},
		{
			"a script for a key that is set aside",
			func(ctx context.Context) error { return script.Run(ctx, client, []string{"probe"}, "v").Err() },
			Stats{Commands: counts{}},
		},
		{
			"a transaction",
			func(ctx context.Context) error {
				_, err := client.TxPipelined(ctx, func(p goredis.Pipeliner) error { p.Incr(ctx, "n"); p.Incr(ctx, "n"); return nil })
				return err
			},
			Stats{RoundTrips: 1, Commands: counts{"MULTI": 1, "INCR": 2, "EXEC": 1}},
		},
		{
			"a megabyte there and back",
			func(ctx context.Context) error {
				if err := client.Set(ctx, "big", strings.Repeat("x", 1<<20), 0).Err(); err != nil {
					return err
				}
				return client.Get(ctx, "big").Err()
			},
			Stats{RoundTrips: 2, Commands: counts{"SET": 1, "GET": 1}},
		},
		{
			"a ping is no request",
			func(ctx context.Context) error { return client.Ping(ctx).Err() },
			Stats{Commands: counts{}},
		},
	} {
		p.ResetStats()
		if err := tt.do(t.Context()); err != nil {
			t.Errorf("%s: %v", tt.sentence, err)
		}
		if diff := cmp.Diff(tt.want, p.Stats()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.sentence, diff)
		}
	}
}

func TestCountsOfMany(t *testing.T) {
	t.Parallel()
	p := between(t, env.Redis(t).Addr)
	w := dial(t, p.Addr())
	const rounds = 3000 // enough for a reply and the next command to overtake each other
	for range rounds {
		w.do(t, "INCR", "n")
	}
	if got := p.Stats().RoundTrips; got != rounds {
		t.Errorf("%d round trips, want %d", got, rounds)
	}
}

func TestPubSubIsNotCounted(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"2", "3"} {
		p := between(t, env.Redis(t).Addr)
		sub, pub := dial(t, p.Addr()), dial(t, p.Addr())
		sub.do(t, "HELLO", protocol)
		sub.do(t, "SUBSCRIBE", "c")
		for _, m := range []string{"a", "b"} {
			pub.do(t, "PUBLISH", "c", m)
			if got, err := sub.read(); err != nil || !strings.HasSuffix(got, "$1\r\n"+m+"\r\n") {
				t.Errorf("RESP%s: message %q, %v", protocol, got, err)
			}
		}
		if got := sub.do(t, "PING"); !strings.Contains(strings.ToUpper(got), "PONG") {
			t.Errorf("RESP%s: ping: %q", protocol, got)
		}
		if diff := cmp.Diff(Stats{RoundTrips: 2, Commands: map[string]int64{"PUBLISH": 2}}, p.Stats()); diff != "" {
			t.Errorf("RESP%s (-want +got):\n%s", protocol, diff)
		}
	}
}
