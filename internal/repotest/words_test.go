package repotest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// banned are words that say where or how the project was made. Each pattern is assembled from parts, so
// that this file passes too. Since patterns are slow, they are only searched in files that contain one
// of their hints, as written or in lower case.
var banned = []struct {
	why, hints string
	pattern    *regexp.Regexp
}{
	{"a path of one machine", "/wo" + "rk/ /tm" + "p/ /ho" + "me/ /ro" + "ot/ /us" + "ers/", regexp.MustCompile(`(^|[\s"'(=:` + "`" + `])/(wo` + `rk|tm` + `p|ho` + `me|ro` + `ot|Us` + `ers)/`)},
	{"a folder outside the repository", "../sha" + "red", regexp.MustCompile(`\.\./sha` + `red\b`)},
	{"a registry's host", "proxy.gol" + "ang deb.deb" + "ian registry.np" + "mjs dock" + "er.io", regexp.MustCompile(`proxy\.gol` + `ang\.org|deb\.deb` + `ian\.org|registry\.np` + `mjs|dock` + `er\.io`)},
	{"a number in a tracker", "iss" + "ue", regexp.MustCompile(`(?i)\biss` + `ues? #?\d+\b`)},
	{"how it was written", "cla" + "ude anthr" + "opic open" + "ai chat" + "gpt cop" + "ilot ll" + "m", regexp.MustCompile(`(?i)\b(cla` + `ude|anthr` + `opic|open` + `ai|chat` + `gpt|cop` + `ilot|ll` + `ms?)\b`)},
	{"how it was written", "A" + "I", regexp.MustCompile(`\bA` + `I\b`)},
	{"unfinished work", "TO" + "DO FIX" + "ME XX" + "X", regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)},
}

func checkWords(files map[string]string) (faults []string) {
	for name, content := range files {
		if !utf8.ValidString(content) {
			continue
		}
		lower := strings.ToLower(content)
		for _, b := range banned {
			if !slices.ContainsFunc(strings.Fields(b.hints), func(hint string) bool { return strings.Contains(content, hint) || strings.Contains(lower, hint) }) {
				continue
			}
			for n, line := range strings.Split(content, "\n") {
				if found := b.pattern.FindString(line); found != "" {
					faults = append(faults, fmt.Sprintf("%s:%d: %s: %q", name, n+1, b.why, found))
				}
			}
		}
	}
	return faults
}

func TestWords(t *testing.T) { report(t, checkWords(files(t))) }

func TestCheckWords(t *testing.T) {
	expect(t, checkWords(map[string]string{
		"a.md":  "The session's issue is a work of its own; see /api/wo" + "rk/ and https://example.org/ho" + "me/.",
		"b.bin": "\xff /wo" + "rk/",
	}))
	expect(t, checkWords(map[string]string{
		"a.go": "// see /wo" + "rk/main",
		"b.md": "one\n`/tm" + "p/x.yaml`",
		"c.md": "../sha" + "red/notes.md",
		"d.sh": "curl https://proxy.gol" + "ang.org",
		"e.md": "as in iss" + "ue 7",
		"f.md": "written by an A" + "I",
		"h.md": "written by Cla" + "ude",
		"g.go": "// TO" + "DO: later",
	}), "a.go:1: a path", "b.md:2: a path", "c.md:1: a folder", "d.sh:1: a registry", "e.md:1: a number", "f.md:1: how", "h.md:1: how", "g.go:1: unfinished")
}
