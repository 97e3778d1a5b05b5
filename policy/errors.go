package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxErrors bounds a report: whoever has more mistakes than this fixes the
// first ones first.
const maxErrors = 100

// Error is one mistake in a policy, and where it is. In JSON it is
// {"file":…,"line":…,"column":…,"message":…}.
type Error struct {
	Position
	Message string `json:"message"`
}

// Error gives file:line:column: message.
func (e Error) Error() string { return e.Position.String() + ": " + e.Message }

// Errors are all the mistakes of a policy, sorted by place. Load and Parse
// return nothing else for a file that could be read.
type Errors []Error

// Error gives one line for each mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// sorted orders by place, drops repetitions (an anchor used twice is read
// twice) and bounds the number.
func (e Errors) sorted() Errors {
	slices.SortFunc(e, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
	e = slices.Compact(e)
	if more := len(e) - maxErrors; more > 0 {
		last := e[maxErrors-1].Position
		e = append(e[:maxErrors], Error{last, fmt.Sprintf("and %d more errors", more)})
	}
	return e
}

// suggest gives ` (did you mean "x"?)` for the candidate nearest to name, or
// "" if none is near.
func suggest(name string, candidates []string) string {
	const longest, most = 64, 200 // beyond it nobody mistyped, and looking for it takes long
	if len(name) > longest || len(candidates) > most {
		return ""
	}
	best, nearest := max(1, (len(name)+1)/4)+1, ""
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if len(c) > longest {
			continue
		}
		if d := distance(name, c); d < best && d < len(name) {
			best, nearest = d, c
		}
	}
	if nearest == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", nearest)
}

// distance is Levenshtein's, with swaps of neighbours: how many insertions,
// deletions, replacements and swaps of bytes turn a into b.
func distance(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, above, row = above, row, before
		row[0] = i + 1
		for j := range len(b) {
			replaced := above[j]
			if a[i] != b[j] {
				replaced++
			}
			row[j+1] = min(replaced, row[j]+1, above[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}

// oneOf lists alternatives for a person: a, b or c.
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
