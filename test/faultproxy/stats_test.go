package faultproxy

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/internal/redisdb"
	"github.com/jewgo/gateway/test/env"
)

// ignored is of no interest to a count of round trips.
var ignored = cmpopts.IgnoreFields(Stats{}, "Connections", "Accepted", "BytesIn", "BytesOut")

func TestCounts(t *testing.T) {
	t.Parallel()
	p := between(t, env.Redis(t).Addr)
	client, err := redisdb.Open(redisdb.Config{URL: p.URL(), Budget: budget, PoolSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.Set(t.Context(), "k", "v", 0)
	if _, err := client.Pipelined(t.Context(), func(p redis.Pipeliner) error { return p.Ping(t.Context()).Err() }); err != nil {
		t.Fatal(err) // pipelines may have connections of their own
	}
	script := redis.NewScript("return redis.call('SET', KEYS[1], ARGV[1])")
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
				_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
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
			Stats{ApartTrips: 1, Apart: counts{"EVALSHA": 1}},
		},
		{
			"a transaction",
			func(ctx context.Context) error {
				_, err := client.TxPipelined(ctx, func(p redis.Pipeliner) error { p.Incr(ctx, "n"); p.Incr(ctx, "n"); return nil })
				return err
			},
			Stats{RoundTrips: 1, Commands: counts{"MULTI": 1, "INCR": 2, "EXEC": 1}, Transactions: 1},
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
			Stats{ApartTrips: 1, Apart: counts{"PING": 1}},
		},
	} {
		p.ResetStats()
		if err := tt.do(t.Context()); err != nil {
			t.Errorf("%s: %v", tt.sentence, err)
		}
		if diff := cmp.Diff(tt.want, p.Stats(), ignored); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.sentence, diff)
		}
	}
}

func TestHandshakeCountsApart(t *testing.T) {
	t.Parallel()
	p := between(t, env.Redis(t).Addr)
	client := open(t, p.URL()+"/3")
	if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s := p.Stats()
	if s.RoundTrips != 1 || s.ApartTrips == 0 || len(s.Commands) != 1 || s.Commands["SET"] != 1 || s.Apart["SELECT"] != 1 || s.Accepted != 1 {
		t.Errorf("%+v", s)
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
	s := p.Stats()
	if want := int64(rounds * len(command("INCR", "n"))); s.BytesIn != want {
		t.Errorf("%d bytes came, want %d", s.BytesIn, want)
	}
	if s.BytesOut < rounds*4 || s.BytesOut > rounds*8 {
		t.Errorf("%d bytes went", s.BytesOut)
	}
}

func TestPubSubCountsApart(t *testing.T) {
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
		s := p.Stats()
		want := Stats{
			RoundTrips: 2, Commands: map[string]int64{"PUBLISH": 2},
			ApartTrips: 2, Apart: map[string]int64{"HELLO": 1, "SUBSCRIBE": 1, "PING": 1},
			Pushes: 3, PubSub: 1,
		}
		if diff := cmp.Diff(want, s, ignored); diff != "" {
			t.Errorf("RESP%s (-want +got):\n%s", protocol, diff)
		}
		if s.Connections != 2 || s.Accepted != 2 {
			t.Errorf("RESP%s: %d connections of %d", protocol, s.Connections, s.Accepted)
		}
		if _, err := io.WriteString(sub, command("QUIT")); err != nil {
			t.Fatal(err)
		}
		env.Until(t, "the subscriber is gone", func() bool { s := p.Stats(); return s.PubSub == 0 && s.Connections == 1 })
	}
}
