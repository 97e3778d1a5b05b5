package cache_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/middleware/cache"
)

// strictCounters refuse the first changes, and then take them.
type strictCounters struct {
	mu      sync.Mutex
	refuse  int            // guarded by mu
	changes []cache.Change // guarded by mu; those taken
}

var errRefused = errors.New("not now")

func (s *strictCounters) Change(_ context.Context, changes []cache.Change) ([]cache.Mark, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse > 0 {
		s.refuse--
		return nil, errRefused
	}
	var marks []cache.Mark
	for _, c := range changes {
		s.changes = append(s.changes, c)
		marks = append(marks, cache.Mark{Slot: c.Slot, Gen: c.Floor + c.Add})
	}
	return marks, nil
}

func (s *strictCounters) Load(context.Context) ([]cache.Mark, error) { return nil, nil }

func (s *strictCounters) Watch(ctx context.Context, connected func(), _ func(cache.Mark)) error {
	connected()
	<-ctx.Done()
	return ctx.Err()
}

func TestARefusedPurgeIsRepeated(t *testing.T) {
	counters := &strictCounters{refuse: 2}
	sw := failover.New(failover.Config{
		Probe: func(context.Context) (failover.Epoch, error) { return failover.Epoch{}, nil }, Classify: func(error) failover.Kind { return failover.Answer },
	})
	tags := cache.NewTags(cache.TagsConfig{Counters: counters, Switch: sw})
	b := newBackground(t)
	b.tasks.Go(func() { sw.Run(b.ctx) })
	<-sw.Probed()
	before := tags.Marks([]string{"t"})
	if err := tags.Purge(t.Context(), "t"); !errors.Is(err, errRefused) {
		t.Errorf("Purge: %v, want the refusal", err)
	}
	if tags.Valid(before) {
		t.Error("a refused purge does not hold here")
	}
	b.tasks.Go(func() { tags.Run(b.ctx) })
	e := &edge{T: t}
	e.eventually("the repeated purge", func() bool {
		counters.mu.Lock()
		defer counters.mu.Unlock()
		return slices.Contains(counters.changes, cache.Change{Slot: before[0].Slot, Floor: 0, Add: 1})
	})
}

func TestTagsOfOneGateway(t *testing.T) {
	tags := cache.NewTags(cache.TagsConfig{})
	both, other := tags.Marks([]string{"a", "b"}), tags.Marks([]string{"c"})
	if !tags.Valid(both) || !tags.Valid(nil) {
		t.Error("what was never purged is not valid")
	}
	if err := tags.Purge(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if tags.Valid(both) {
		t.Error("a purge of one of two tags leaves their entry valid")
	}
	if !tags.Valid(other) || !tags.Valid(tags.Marks([]string{"a", "b"})) {
		t.Error("what has another tag, or came later, is not valid")
	}
	tags.Run(t.Context()) // returns at once
}
