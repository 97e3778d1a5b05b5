package ratelimit_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jewgo/gateway/middleware/ratelimit"
)

func TestTopFindsTheHottestAmongMany(t *testing.T) {
	var top ratelimit.Top
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Unix(1_700_000_000, 0)
	zipf := rand.NewZipf(random, 1.3, 1, 1<<20)
	counts := map[string]int{}
	for range 200_000 {
		key := fmt.Sprint("k", zipf.Uint64())
		counts[key]++
		top.Add("l", key, len(key)%2 == 0, now)
	}
	list := top.List(10, now)
	if len(list) != 10 {
		t.Fatalf("%d keys", len(list))
	}
	for i, h := range list {
		if want := fmt.Sprint("k", i); i < 5 && h.Key != want {
			t.Errorf("place %d: %s, want %s", i, h.Key, want)
		}
		if n := counts[h.Key]; h.Total < n || h.Total-h.Error > n {
			t.Errorf("%s was charged %d times, said %d, of which %d may be others'", h.Key, n, h.Total, h.Error)
		}
	}
}

func TestTopForgets(t *testing.T) {
	var top ratelimit.Top
	now := time.Unix(1_700_000_000, 0)
	for range 1000 {
		top.Add("l", "old", false, now)
	}
	for minute := range 6 {
		for range 100 {
			top.Add("l", "new", true, now.Add(time.Duration(minute+1)*time.Minute))
		}
	}
	last := now.Add(6 * time.Minute)
	list := top.List(5, last)
	if list[0].Key != "new" || list[1].Key != "old" || list[1].Denied > 20 {
		t.Errorf("%+v", list)
	}
	if later := top.List(5, last.Add(2*time.Minute)); later[0].Total != list[0].Total/4 {
		t.Errorf("two minutes without a charge: %+v, before %+v", later, list)
	}
	if list := top.List(5, last.Add(time.Hour)); len(list) > 0 {
		t.Errorf("an hour without a charge: %+v", list)
	}
}

func TestTopIsBounded(t *testing.T) {
	var top ratelimit.Top
	for i := range 10_000 {
		top.Add("l", fmt.Sprint(i), true, time.Unix(0, 0))
	}
	if n := len(top.List(1<<20, time.Unix(0, 0))); n > 128 {
		t.Errorf("%d keys are kept", n)
	}
}
