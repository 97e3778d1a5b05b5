package cache

import (
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// maxSearchRules bounds the paths whose rule is remembered.
const maxSearchRules = 4096

// searchRules remembers what No-Vary-Search said last of a path. What is
// forgotten, or not known to this gateway, costs a miss: keys hold the rule that
// they were made by.
type searchRules struct {
	known atomic.Int64 // paths; none is the ordinary case
	mu    sync.RWMutex
	rules map[searched]rfc9111.SearchRule // guarded by mu
}

// searched is the path of a request, its query aside.
type searched struct{ route, authority, path string }

func searchedBy(ex *exchange.Exchange) searched {
	return searched{ex.Route.Name, ex.View.Authority, ex.View.Path}
}

func (s *searchRules) get(ex *exchange.Exchange) rfc9111.SearchRule {
	if s.known.Load() == 0 {
		return rfc9111.SearchRule{}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rules[searchedBy(ex)]
}

// learn takes the rule of a stored response over and returns it.
func (s *searchRules) learn(ex *exchange.Exchange, h http.Header) rfc9111.SearchRule {
	rule := rfc9111.ParseSearchRule(h["No-Vary-Search"])
	if rule.Default() && s.known.Load() == 0 {
		return rule
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := searchedBy(ex)
	switch {
	case rule.Default():
		delete(s.rules, at)
	case s.rules == nil:
		s.rules = map[searched]rfc9111.SearchRule{at: rule}
	default:
		if _, there := s.rules[at]; !there && len(s.rules) >= maxSearchRules {
			for other := range s.rules { // any: the order of a map is random
				delete(s.rules, other)
				break
			}
		}
		s.rules[at] = rule
	}
	s.known.Store(int64(len(s.rules)))
	return rule
}
