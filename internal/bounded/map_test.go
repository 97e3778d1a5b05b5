package bounded_test

import (
	"testing"

	"github.com/jewgo/gateway/internal/bounded"
)

func TestMap(t *testing.T) {
	m := bounded.Map[int, string]{Limit: 3}
	if _, ok := m.Get(1); ok || m.Len() != 0 {
		t.Error("an empty map holds something")
	}
	for key := range 100 {
		m.Put(key, "v")
		if v, ok := m.Get(key); v != "v" || !ok || m.Len() > m.Limit {
			t.Fatalf("key %d: %q, %v, of %d keys", key, v, ok, m.Len())
		}
	}
	m.Put(99, "w") // replaces no other key
	if v, _ := m.Get(99); v != "w" || m.Len() != m.Limit {
		t.Errorf("%q, of %d keys", v, m.Len())
	}
	if m.Delete(99); m.Len() != m.Limit-1 {
		t.Errorf("%d keys", m.Len())
	}
}
