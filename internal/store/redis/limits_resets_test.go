package redis_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/test/env"
)

func TestResetsReachEveryGateway(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	client := openFor(t, server.URL)
	a, b := redis.NewResets(client), redis.NewResets(client)
	tell := func(r *redis.Resets, keys ...string) {
		t.Helper()
		if err := r.Tell(t.Context(), keys...); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(r *redis.Resets, want ...string) {
		t.Helper()
		got, err := r.News(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("news: %q, want %q", got, want)
		}
	}
	tell(a, "zero")
	expect(a, "zero")
	expect(b, "zero")
	tell(a, "one", "two")
	expect(a, "one", "two")
	expect(a)
	tell(b, "three")
	expect(b, "one", "two", "three")
	expect(a, "three")
	tell(b, "one") // again
	expect(a, "one")

	admin(t, server, "FLUSHALL") // this deletes the buckets too
	tell(b, "four")
	expect(a, "four")

	for i := range 2000 {
		tell(b, fmt.Sprint("k", i))
	}
	if got, err := a.News(t.Context()); err != nil || len(got) != 1024 || got[1023] != "k1999" {
		t.Errorf("%d names, %v", len(got), err)
	}
	for _, key := range client.Keys(t.Context(), "*").Val() {
		if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 {
			t.Errorf("%s lives for %v", key, ttl)
		}
	}
}
