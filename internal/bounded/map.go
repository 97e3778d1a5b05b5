// Package bounded provides a map that never grows beyond a limit, for data that clients could add
// to without end. Use it only for values that can be found out again.
package bounded

import (
	"maps"
	"sync"
)

// Map is a map of at most Limit keys, safe for concurrent use. If it is full, a new key replaces a
// random one.
type Map[K comparable, V any] struct {
	Limit int // required

	mu sync.RWMutex
	of map[K]V // guarded by mu
}

// Get returns the value of a key.
func (m *Map[K, V]) Get(key K) (value V, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	value, ok = m.of[key]
	return value, ok
}

// Put replaces the value of a key.
func (m *Map[K, V]) Put(key K, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[K]V{}
	}
	if _, there := m.of[key]; !there && len(m.of) >= m.Limit {
		for other := range m.of { // the order of a map is random
			delete(m.of, other)
			break
		}
	}
	m.of[key] = value
}

// Delete removes a key.
func (m *Map[K, V]) Delete(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.of, key)
}

// Copy returns a map with the same limit, keys and values.
func (m *Map[K, V]) Copy() Map[K, V] {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return Map[K, V]{Limit: m.Limit, of: maps.Clone(m.of)}
}

// Len is the number of keys.
func (m *Map[K, V]) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.of)
}
