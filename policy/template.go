package policy

import (
	"fmt"
	"strings"
)

// parseTemplate reads a text with {name} parts. It may hold what a tag may:
// visible ASCII without commas and quotes, since purges name tags in lists.
func parseTemplate(text string) (Template, error) {
	const most = 128
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ',' || r == '"' }
	if text == "" || len(text) > most || strings.ContainsFunc(text, bad) {
		return Template{}, fmt.Errorf("bad tag %q (visible ASCII without commas and quotes, at most %d)", clip(text), most)
	}
	t := Template{Text: text}
	for rest := text; rest != ""; {
		literal, after, open := strings.Cut(rest, "{")
		name, tail, closed := strings.Cut(after, "}")
		switch {
		case strings.Contains(literal, "}"):
			return Template{}, fmt.Errorf("bad tag %q: a } without {", clip(text))
		case open && (!closed || !isIdentifier(name)):
			return Template{}, fmt.Errorf("bad tag %q: a { without a path value's name and }", clip(text))
		}
		if literal != "" {
			t.parts = append(t.parts, templatePart{text: literal})
		}
		if open {
			t.parts = append(t.parts, templatePart{text: name, param: true})
		}
		rest = tail
	}
	return t, nil
}

// templates compiles the tags at path, whose names the pattern p must have.
func (c *compiler) templates(path string, list StringList, p pattern) []Template {
	var compiled []Template
	for i, text := range list {
		t, err := parseTemplate(text)
		if err != nil {
			c.invalid(c.item(path, i), "%v", err)
			continue
		}
		for _, part := range t.parts {
			if part.param && len(p.segments) > 0 && !p.has(part.text) {
				c.invalid(c.item(path, i), "the path pattern has no {%s}%s", part.text, suggest(part.text, p.names()))
			}
		}
		compiled = append(compiled, t)
	}
	return compiled
}
