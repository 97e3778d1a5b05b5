package cache_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/test/env"
)

// strictCounters refuse the first changes, and then accept all.
type strictCounters struct {
	mu      sync.Mutex
	refuse  int            // guarded by mu
	loads   int            // that fail; guarded by mu
	table   []cache.Mark   // guarded by mu
	silent  bool           // never report that listening began
	changes []cache.Change // those accepted; guarded by mu
}

var errRefused = errors.New("not now")

func (s *strictCounters) Change(_ context.Context, _ uint64, changes []cache.Change) (cache.Table, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse > 0 {
		s.refuse--
		return cache.Table{}, errRefused
	}
	var marks []cache.Mark
	for _, c := range changes {
		s.changes = append(s.changes, c)
		marks = append(marks, cache.Mark{Slot: c.Slot, Gen: c.Floor + c.Add})
	}
	return cache.Table{Marks: marks}, nil
}

func (s *strictCounters) Load(context.Context) (cache.Table, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loads > 0 {
		s.loads--
		return cache.Table{}, errRefused
	}
	return cache.Table{Marks: s.table}, nil
}

// purged reports whether a purge of the slot was accepted.
func (s *strictCounters) purged(slot uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.changes, func(c cache.Change) bool { return c.Slot == slot && c.Add > 0 })
}

func (s *strictCounters) accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.changes)
}

func (s *strictCounters) Watch(ctx context.Context, connected func(), _ func(cache.Table)) error {
	if !s.silent {
		connected()
	}
	<-ctx.Done()
	return ctx.Err()
}

// upTags returns tags whose Switch is up, and the background for their goroutines.
func upTags(t *testing.T, counters cache.Counters) (*cache.Tags, background) {
	sw := failover.New(failover.Config{
		Probe: func(context.Context) (failover.Epoch, error) { return failover.Epoch{}, nil }, Classify: func(error) failover.Kind { return failover.Answer },
	})
	tags := cache.NewTags(cache.TagsConfig{Counters: counters, Switch: sw})
	b := newBackground(t)
	b.tasks.Go(func() { sw.Run(b.ctx) })
	<-sw.Probed()
	return tags, b
}

func TestARefusedPurgeIsRepeated(t *testing.T) {
	counters := &strictCounters{refuse: 2}
	tags, b := upTags(t, counters)
	before := tags.Marks([]string{"t"})
	if err := tags.Purge(t.Context(), "t"); !errors.Is(err, errRefused) {
		t.Errorf("Purge: %v, want the refusal", err)
	}
	if tags.Valid(before) {
		t.Error("a refused purge is not in force here")
	}
	b.tasks.Go(func() { tags.Run(b.ctx) })
	e := &edge{T: t}
	env.Until(e, "the repeated purge", func() bool { return counters.purged(before[0].Slot) })
}

// A purge during the Switch's last step to Up is sent, although nothing wakes the Switch
// afterwards.
func TestAPurgeJustBeforeUpIsTold(t *testing.T) {
	counters := &strictCounters{silent: true}
	var tags *cache.Tags
	purged, rejoining := sync.Once{}, false
	cfg := failover.Config{
		Classify: func(error) failover.Kind { return failover.Answer },
		Barrier:  func(context.Context) (time.Duration, error) { rejoining = true; return 0, nil },
	}
	cfg.Probe = func(ctx context.Context) (failover.Epoch, error) {
		if rejoining {
			purged.Do(func() {
				if err := tags.Purge(ctx, "t"); err != nil {
					t.Error(err)
				}
			})
		}
		return failover.Epoch{}, nil
	}
	sw := failover.New(cfg)
	tags = cache.NewTags(cache.TagsConfig{Counters: counters, Switch: sw})
	slot := tags.Marks([]string{"t"})[0].Slot
	b := newBackground(t)
	b.tasks.Go(func() { tags.Run(b.ctx) })
	b.tasks.Go(func() { sw.Run(b.ctx) })
	e := &edge{T: t}
	env.Until(e, "the purge", func() bool { return counters.purged(slot) })
}

// After an interruption of listening, the table is read until that succeeds.
func TestAFailedReadOfTheTableIsRepeated(t *testing.T) {
	counters := &strictCounters{}
	tags, b := upTags(t, counters)
	before := tags.Marks([]string{"t"})
	counters.mu.Lock()
	counters.loads, counters.table = 1, []cache.Mark{{Slot: before[0].Slot, Gen: 7}}
	counters.mu.Unlock()
	b.tasks.Go(func() { tags.Run(b.ctx) })
	e := &edge{T: t}
	env.Until(e, "purges by others", func() bool { return !tags.Valid(before) })
}

func TestTagsOfOneGateway(t *testing.T) {
	tags := cache.NewTags(cache.TagsConfig{})
	both, other := tags.Marks([]string{"a", "b"}), tags.Marks([]string{"c"})
	if !tags.Valid(both) || !tags.Valid(nil) {
		t.Error("an entry that was never purged is not valid")
	}
	if err := tags.Purge(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if tags.Valid(both) {
		t.Error("a purge of one of two tags leaves their entry valid")
	}
	if !tags.Valid(other) || !tags.Valid(tags.Marks([]string{"a", "b"})) {
		t.Error("an entry with another tag, or a later one, is not valid")
	}
	tags.Run(t.Context()) // returns at once
}
