package session

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

// warnEvery is how often a route's signals are warned of, and maxWarned of how many
// routes that is remembered.
const warnEvery, maxWarned = time.Minute, 1024

// warned knows when each route was warned of last. The zero value works.
type warned struct {
	mu   sync.Mutex
	last map[string]time.Time // by route; guarded by mu
}

// due reports whether a route is to be warned of now, and notes that it is.
func (w *warned) due(route string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last, ok := w.last[route]; ok && now.Sub(last) < warnEvery {
		return false
	}
	if w.last == nil || len(w.last) >= maxWarned {
		w.last = map[string]time.Time{}
	}
	w.last[route] = now
	return true
}

// warn tells the operator why a signal was not obeyed, and of what would be.
func (v *visit) warn(because, write string) {
	route := v.ex.Route
	if v.m.warned.due(route.Name, v.m.now()) {
		v.m.log.Warn("the upstream's "+SignalHeader+" is not obeyed", slog.String("because", because), slog.String("route", route.Name), slog.String("at", route.Position.String()),
			slog.String("request_id", v.ex.RequestID), slog.String("write", write))
	}
}

// exampleOf is a signal of the kind that lines were meant to be.
func exampleOf(lines []string) string {
	example := `login {"user":"42","roles":["editor"]}`
	for _, line := range lines {
		for verb, right := range map[string]string{"set": `set {"key":"value","gone":null}`, "logout": "logout", "logout-all": "logout-all"} {
			if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.EqualFold(word, verb) {
				example = right
			}
		}
	}
	return SignalHeader + ": " + example
}
