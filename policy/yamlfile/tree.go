package yamlfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxFile bounds a file, in bytes. The largest sensible one is a tenth of it.
const maxFile = 1 << 20

// parseTree parses the single YAML document in data. Types, aliases and keys are left to the decoder.
func parseTree(file, kind string, data []byte) (*yaml.Node, *Error) {
	if len(data) > maxFile {
		return nil, &Error{Position{File: file}, "larger than 1 MiB"}
	}
	if err := checkText(file, data); err != nil {
		return nil, err
	}
	var root, next yaml.Node
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err == nil {
		err = loader.Load(&root)
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil, &Error{Position{file, 1, 1}, "the file is empty"}
	case err != nil:
		return nil, syntaxError(file, data, err)
	}
	switch err := loader.Load(&next); {
	case err == nil:
		return nil, &Error{Position{file, next.Line, next.Column}, "second document: a " + kind + " must be a single one"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(file, data, err)
	}
	return root.Content[0], nil
}

// checkText refuses binary data, for which the parser reports no position.
func checkText(file string, data []byte) *Error {
	text := string(data)
	for i, r := range text {
		message := ""
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(r)):
			message = "not UTF-8"
		case unicode.IsControl(r) && !strings.ContainsRune("\t\n\r\u0085", r):
			message = "control characters are not allowed"
		default:
			continue
		}
		lines := strings.Split(text[:i], "\n")
		return &Error{Position{file, len(lines), utf8.RuneCountInString(lines[len(lines)-1]) + 1}, message}
	}
	return nil
}

func syntaxError(file string, data []byte, err error) *Error {
	var load *yaml.LoadError
	if !errors.As(err, &load) {
		return &Error{Position{file, 1, 1}, err.Error()}
	}
	message, mark := load.Message, load.Mark
	if load.ContextMsg != "" {
		message = load.ContextMsg + ": " + message
	}
	if mark.Line == 0 {
		mark = load.ContextMark
	}
	if mark.Line == 0 {
		mark.Line, mark.Column = 1, 1
	}
	lines := strings.Split(string(data), "\n")
	if mark.Line <= len(lines) && strings.Contains(lines[mark.Line-1], "${") && strings.Contains(load.ContextMsg, "flow") {
		message += " (within { } and [ ], write \"${…}\" in quotes)"
	}
	return &Error{Position{file, mark.Line, mark.Column}, message}
}

var (
	variable = regexp.MustCompile(`\$\$\{|\$\{[^}]*\}?`)      // or an escaped ${; the } may be missing
	posix    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`) // a variable's name
)

// expand replaces ${VAR} and ${VAR:-default} in a value from the environment, and $${ by a literal
// ${. Line ends at the end of a variable, which come from files, are removed; spaces are kept, since
// a password may end in one. A variable's content is plain text and is not expanded again, so it
// cannot inject structure or further variables. An empty variable counts as unset, as with :- in a
// shell. expanded reports whether s had any variable.
func expand(s string, getenv func(string) string) (value string, expanded bool, err error) {
	value = variable.ReplaceAllStringFunc(s, func(found string) string {
		if found == "$${" {
			return "${"
		}
		inside, closed := strings.CutSuffix(found[2:], "}")
		name, fallback, hasFallback := strings.Cut(inside, ":-")
		expanded = true
		switch {
		case err != nil:
		case !closed:
			err = errors.New(`"${" without "}" (write $${ for a literal one)`)
		case !posix.MatchString(name):
			err = fmt.Errorf("bad variable %q (write ${NAME} or ${NAME:-default})", name)
		case strings.Contains(fallback, "${"):
			err = fmt.Errorf("the default of %s must not contain a variable", name)
		default:
			v := strings.TrimRight(getenv(name), "\r\n")
			if v == "" && !hasFallback {
				err = fmt.Errorf("environment variable %s is not set and has no default (write ${%s:-default})", name, name)
			}
			return cmp.Or(v, fallback)
		}
		return ""
	})
	return value, expanded, err
}
