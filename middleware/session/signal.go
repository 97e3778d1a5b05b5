package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
)

// SignalHeader is the response header in which an upstream logs in and out:
//
//	X-Gw-Session: login {"user":"42","roles":["editor"]}
//	X-Gw-Session: set {"key":"value","gone":null}
//	X-Gw-Session: logout
//	X-Gw-Session: logout-all
//
// It is only obeyed on routes with session_signal, and never reaches a client.
const SignalHeader = "X-Gw-Session"

// signal is one parsed SignalHeader.
type signal struct {
	verb   string
	login  loginArgument
	values map[string]*string // nil: remove
}

type loginArgument struct {
	User  string   `json:"user"`
	Roles []string `json:"roles"`
}

// parseSignal reads the header's lines. More than one is an error: the first might log in the user
// that the second logs out.
func parseSignal(lines []string) (signal, error) {
	if len(lines) != 1 {
		return signal{}, fmt.Errorf("%d lines", len(lines))
	}
	verb, argument, _ := strings.Cut(strings.TrimSpace(lines[0]), " ")
	argument = strings.TrimSpace(argument)
	s := signal{verb: verb}
	switch verb {
	case "login":
		if err := strictJSON(argument, &s.login); err != nil {
			return signal{}, fmt.Errorf("login: %w", err)
		}
		if s.login.User == "" {
			return signal{}, errors.New("login: no user")
		}
	case "set":
		if err := strictJSON(argument, &s.values); err != nil {
			return signal{}, fmt.Errorf("set: %w", err)
		}
		if len(s.values) == 0 {
			return signal{}, errors.New("set: no values")
		}
	case "logout", "logout-all":
		if argument != "" {
			return signal{}, fmt.Errorf("%s takes no argument", verb)
		}
	default:
		return signal{}, errors.New("unknown verb") // not quoted: it may be part of a secret
	}
	return s, nil
}

// strictJSON reads exactly one value without unknown members. Its errors never quote the text.
func strictJSON(text string, v any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errors.New("the argument is not the expected JSON")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one argument")
	}
	return nil
}

// warnEvery is how often a route's signals are warned of, and maxWarned of how many
// routes that is remembered.
const warnEvery, maxWarned = time.Minute, 1024

// unheard notes and warns of a signal on a route that takes none.
func (m *Manager) unheard(ex *exchange.Exchange) {
	ex.Facts.Note(SignalHeader + " from a route without session_signal")
	m.warn(ex, "signals are ignored on this route", "session: optional, session_signal: true, on the route")
}

// warn tells the operator why a signal was not obeyed, and of what would be.
func (m *Manager) warn(ex *exchange.Exchange, because, write string) {
	route, now := ex.Route, m.now()
	if last, ok := m.warned.Get(route.Name); !ok || now.Sub(last) >= warnEvery {
		m.warned.Put(route.Name, now)
		m.log.Warn("the upstream's "+SignalHeader+" is not obeyed", slog.String("because", because), slog.String("route", route.Name), slog.String("at", route.Position.String()),
			slog.String("request_id", ex.RequestID), slog.String("write", write))
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
