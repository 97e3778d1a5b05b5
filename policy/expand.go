package policy

import (
	"errors"
	"fmt"
	"strings"
)

// expand replaces ${VAR} and ${VAR:-default} in a value by the environment, and
// $${ by a literal ${. Line ends after a variable, which files bring along, are
// lost; spaces are not, since a password may end in one. What a variable holds is text and is not looked at
// again, so it can inject neither structure nor further variables. A variable
// that is set but empty counts as unset, as :- has it in a shell. It reports
// whether there was any variable in s.
func expand(s string, getenv func(string) string) (value string, expanded bool, err error) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), expanded, nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		inside, rest, closed := strings.Cut(s[i+2:], "}")
		name, fallback, hasFallback := strings.Cut(inside, ":-")
		switch {
		case !closed:
			return "", true, errors.New(`"${" without "}" (write $${ for a literal one)`)
		case !isVariable(name):
			return "", true, fmt.Errorf("bad variable %q (write ${NAME} or ${NAME:-default})", name)
		case strings.Contains(fallback, "${"):
			return "", true, fmt.Errorf("the default of %s holds a variable itself", name)
		}
		v := strings.TrimRight(getenv(name), "\r\n")
		if v == "" && !hasFallback {
			return "", true, fmt.Errorf("environment variable %s is not set and has no default (write ${%s:-default})", name, name)
		}
		if v == "" {
			v = fallback
		}
		b.WriteString(v)
		s, expanded = rest, true
	}
}

// isVariable reports whether s is a name as POSIX has it.
func isVariable(s string) bool {
	for i, c := range []byte(s) {
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
