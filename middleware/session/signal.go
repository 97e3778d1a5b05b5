package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// SignalHeader is the response header in which an upstream logs in and out:
//
//	X-Gw-Session: login {"user":"42","roles":["editor"]}
//	X-Gw-Session: set {"key":"value","gone":null}
//	X-Gw-Session: logout
//	X-Gw-Session: logout-all
//
// It is heard on routes with session_signal alone and reaches no client.
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

// parseSignal reads the header's lines. More than one is ambiguous, and so
// malformed: obeying the first might log in whom the second logs out.
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

// strictJSON reads exactly one value without unknown members. Its errors never
// quote the text.
func strictJSON(text string, v any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errors.New("the argument is not what it should be in JSON")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one argument")
	}
	return nil
}
