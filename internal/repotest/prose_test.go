package repotest

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"testing"
)

const (
	widest  = 100 // columns of a line, tables and code aside
	longest = 35  // words of a sentence
)

var (
	fenced      = regexp.MustCompile("(?ms)^```.*?^```")
	hidden      = regexp.MustCompile(`(?s)<!--.*?-->`)
	inlineCode  = regexp.MustCompile("`[^`]*`")
	target      = regexp.MustCompile(`\]\([^)]*\)`)
	definition  = regexp.MustCompile(`^\[[^\]]+\]: `)
	item        = regexp.MustCompile(`^\s*(?:[-*]|\d+\.) `)
	sentenceEnd = regexp.MustCompile(`[.!?]["')]*(?: |$)`)
)

// checkProse checks the Markdown files for lines and sentences that are too long to read.
func checkProse(files map[string]string) (faults []string) {
	for name, content := range files {
		if path.Ext(name) != ".md" {
			continue
		}
		content = fenced.ReplaceAllStringFunc(content, func(code string) string { return strings.Repeat("\n", strings.Count(code, "\n")) })
		for i, line := range strings.Split(content, "\n") {
			if n := len([]rune(line)); n > widest && !strings.HasPrefix(line, "|") && !definition.MatchString(line) {
				faults = append(faults, fmt.Sprintf("%s:%d: %d columns: %.40s", name, i+1, n, line))
			}
		}
		for _, sentence := range sentences(hidden.ReplaceAllString(content, "")) {
			if n := len(strings.Fields(sentence)); n > longest {
				faults = append(faults, fmt.Sprintf("%s: %d words: %.60s", name, n, sentence))
			}
		}
	}
	return faults
}

// sentences splits the paragraphs, list items and table cells of a page. A piece of code is one word.
func sentences(page string) (all []string) {
	var text string
	end := func() {
		text = target.ReplaceAllString(inlineCode.ReplaceAllString(text, "X"), "]")
		for len(text) > 0 {
			at := len(text)
			if found := sentenceEnd.FindStringIndex(text); found != nil {
				at = found[1]
			}
			all = append(all, strings.TrimSpace(text[:at]))
			text = text[at:]
		}
	}
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#") || definition.MatchString(line):
			end()
			continue
		case strings.HasPrefix(line, "|"):
			for cell := range strings.SplitSeq(strings.Trim(line, "|"), " | ") {
				end()
				text = cell
			}
			end()
			continue
		case item.MatchString(line):
			end()
		}
		text += line + " "
	}
	end()
	return all
}

func TestProse(t *testing.T) {
	for name, content := range files(t) {
		t.Run(name, func(t *testing.T) { report(t, checkProse(map[string]string{name: content})) })
	}
}

func TestCheckProse(t *testing.T) {
	thirty := strings.Repeat("word ", 30)
	expect(t, checkProse(map[string]string{
		"a.md":  thirty[:90] + "\n" + thirty[90:] + ".\n" + "Then `" + thirty[:60] + "`.\n\n```\n" + strings.Repeat("x", 101) + "\n```\n",
		"b.md":  "| " + strings.Repeat("word ", 30) + " | " + thirty + " |\n- word\n- " + thirty[:80] + "\n\n[x]: https://example.org/" + strings.Repeat("x", 101),
		"c.txt": strings.Repeat("x", 101),
	}))
	expect(t, checkProse(map[string]string{
		"a.md": strings.Repeat("x", 101),
		"b.md": "Why " + thirty[:95] + "\n" + thirty[:95] + "\nso.",
		"c.md": "| " + strings.Repeat("word ", 36) + " | x |",
	}), "a.md:1: 101 columns", "b.md: 40 words", "c.md: 36 words")
}
