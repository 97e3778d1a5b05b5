package policy

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"
)

// sourceKinds are the sources as they are written; a colon asks for a name.
var sourceKinds = map[string]SourceKind{
	"client_ip":    SourceClientIP,
	"session":      SourceSession,
	"session.user": SourceSessionUser,
	"header:":      SourceHeader,
	"cookie:":      SourceCookie,
	"path:":        SourcePath,
	"host":         SourceHost,
}

// What may stand in a limit's key, and in a cache's key and bypass.
var (
	limitSources = []string{"client_ip", "session", "session.user", "header:", "cookie:", "path:", "host"}
	cacheSources = []string{"header:", "cookie:", "session"}
)

// parseSource reads one part of a key.
func parseSource(text string, allowed []string) (Source, error) {
	word, name, named := strings.Cut(text, ":")
	if named {
		word += ":"
	}
	kind := sourceKinds[word]
	switch {
	case !slices.Contains(allowed, word):
		shown := strings.ReplaceAll(oneOf(allowed), ":", ":NAME")
		return Source{}, fmt.Errorf("expected %s, found %q%s", shown, clip(text), suggest(word, allowed))
	case kind == SourcePath && !isIdentifier(name):
		return Source{}, fmt.Errorf("bad path value name %q", clip(name))
	case (kind == SourceHeader || kind == SourceCookie) && !isToken(name):
		return Source{}, fmt.Errorf("bad name %q in %q", clip(name), clip(text))
	case kind == SourceHeader && strings.EqualFold(name, "Host"):
		hint := ""
		if slices.Contains(allowed, "host") {
			hint = ` (did you mean "host"?)`
		}
		return Source{}, fmt.Errorf("%q is never present: the host is kept apart from the header fields%s", text, hint)
	case kind == SourceHeader:
		name = textproto.CanonicalMIMEHeaderKey(name)
	}
	return Source{kind, name}, nil
}

// sources compiles a list of them and reports what is wrong with each.
func (c *compiler) sources(path string, list StringList, allowed []string) []Source {
	var compiled []Source
	for i, text := range list {
		s, err := parseSource(text, allowed)
		switch {
		case err != nil:
			c.invalid(c.item(path, i), "%v", err)
		case slices.Contains(compiled, s):
			c.invalid(c.item(path, i), "duplicate %q", text)
		default:
			compiled = append(compiled, s)
		}
	}
	return compiled
}

// usesSession reports whether a key depends on who has a session.
func usesSession(sources []Source) bool {
	return slices.ContainsFunc(sources, func(s Source) bool {
		return s.Kind == SourceSession || s.Kind == SourceSessionUser
	})
}
