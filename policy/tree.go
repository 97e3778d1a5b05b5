package policy

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxFile bounds a policy file. The largest sensible one is a tenth of it.
const maxFile = 1 << 20

// parseTree parses the one YAML document in data. It interprets nothing: types,
// aliases and keys are the decoder's.
func parseTree(file string, data []byte) (*yaml.Node, *Error) {
	if len(data) > maxFile {
		return nil, &Error{Position{File: file}, "larger than 1 MiB"}
	}
	if err := checkText(file, data); err != nil {
		return nil, err
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, &Error{Position{File: file}, err.Error()}
	}
	var root, next yaml.Node
	switch err := loader.Load(&root); {
	case errors.Is(err, io.EOF):
		return nil, &Error{Position{file, 1, 1}, "the file is empty"}
	case err != nil:
		return nil, syntaxError(file, data, err)
	}
	switch err := loader.Load(&next); {
	case err == nil:
		return nil, &Error{Position{file, next.Line, next.Column}, "a second document; a policy is a single one"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(file, data, err)
	}
	return root.Content[0], nil
}

// checkText refuses what is no text, since the parser knows no place for it.
func checkText(file string, data []byte) *Error {
	line, column := 1, 1
	for rest := data; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			return &Error{Position{file, line, column}, "not UTF-8"}
		case r < ' ' && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r < 0xa0 && r != 0x85:
			return &Error{Position{file, line, column}, "control characters are not allowed"}
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		rest = rest[size:]
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
		return &Error{Position{file, 1, 1}, message}
	}
	lines := strings.Split(string(data), "\n")
	if mark.Line <= len(lines) && strings.Contains(lines[mark.Line-1], "${") && strings.Contains(load.ContextMsg, "flow") {
		message += " (within { } and [ ], write \"${…}\" in quotes)"
	}
	return &Error{Position{file, mark.Line, mark.Column}, message}
}
