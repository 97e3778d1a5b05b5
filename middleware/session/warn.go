package session

import (
	"log/slog"
	"strings"
	"time"
)

// warnEvery is how often a route's signals are warned of, and maxWarned of how many
// routes that is remembered.
const warnEvery, maxWarned = time.Minute, 1024

// warn tells the operator why a signal was not obeyed, and of what would be.
func (v *visit) warn(because, write string) {
	route, now := v.ex.Route, v.m.now()
	if last, ok := v.m.warned.Get(route.Name); !ok || now.Sub(last) >= warnEvery {
		v.m.warned.Put(route.Name, now)
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
