package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/jewgo/gateway/internal/atomicfile"
	"github.com/jewgo/gateway/policy"
)

// environment gives variables to a policy. One that is not set may be in a file that NAME_FILE names, as
// containers get their secrets.
type environment struct{ problems []error }

func (e *environment) get(name string) string {
	value, file := os.Getenv(name), os.Getenv(name+"_FILE")
	switch {
	case file == "":
		return value
	case value != "":
		e.problems = append(e.problems, fmt.Errorf("%s and %s_FILE are both set", name, name))
		return value
	}
	text, err := atomicfile.ReadSecret(file)
	if err != nil {
		e.problems = append(e.problems, fmt.Errorf("%s_FILE: %w", name, err))
	}
	return strings.TrimRight(string(text), "\r\n")
}

// loadPolicy is policy.Load with this process's environment.
func loadPolicy(file string) (*policy.Snapshot, error) {
	var e environment
	s, err := policy.Load(file, e.get)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usage(fmt.Errorf("no policy: %w; `gateway init --to http://127.0.0.1:5000` prints one to start from, --config names another file", err))
	}
	if len(e.problems) > 0 {
		return nil, errors.Join(e.problems...)
	}
	return s, err
}
