// Package yamlfile reads a YAML file strictly into Go structs and remembers where
// everything stood.
//
// Keys are the structs' yaml tags. A jsonschema tag says what a value may be
// (required, enum, minimum, maximum, minItems), a check tag names one of the
// caller's checks, and a default tag is the value of a key that the file leaves
// out. Block and flow style are the same, one value stands for a list of one, and
// ${VAR:-default} stands for a value of the environment. Every mistake is
// reported at once, with file, line and column; what is read is bounded.
//
// The package does no I/O but reading the file. What keys mean, and what only the
// whole can tell, is the caller's: the Document takes its errors too.
package yamlfile

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
)

// Options say how a file is read. The zero value knows no variables and no checks.
type Options struct {
	Kind   string              // what the file is, for messages, as "policy"
	Getenv func(string) string // answers ${VAR}
	// Words are keys as other programs call them: what it is here, or a text with
	// spaces that says why there is none.
	Words map[string]string
	// Checks are named by check tags, with ",optional" where an empty value passes.
	// Each says what is wrong with the value of a key, as fmt prints it, or "".
	Checks map[string]func(key, value string) string
}

// Document is what is known of a file beside its values: where each stands and what
// is wrong. Values are named by path, as routes[3].match.path.
type Document struct {
	Errors Errors // in the order in which they were found

	file   string
	places map[string]Position // of every value in the file
	empty  map[string]bool     // values whose ${VAR:-} came out empty
	origin map[string]string   // values that a variable filled, by its name
	typos  map[string]bool     // mappings with an unknown key
	bad    []string            // values that could not be read
}

// ReadFile gives the text of a file, no more of it than Read accepts.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// Read fills the struct that into points to: its defaults, then what the text says,
// as much of it as can be read. name stands for the file in messages.
func Read(name string, data []byte, into any, o Options) *Document {
	d := &Document{
		file:   name,
		places: map[string]Position{},
		empty:  map[string]bool{},
		origin: map[string]string{},
		typos:  map[string]bool{},
	}
	v := reflect.ValueOf(into).Elem()
	ApplyDefaults(v)
	root, err := parseTree(name, o.Kind, data)
	if err != nil {
		d.Errors, d.bad = Errors{*err}, []string{""}
		return d
	}
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	(&decoder{Document: d, Options: o, root: v.Type(), below: map[reflect.Type]map[string][]string{}}).value(root, v, "", Field{})
	return d
}

// Err gives the errors sorted by place and bounded in number, nil without any.
func (d *Document) Err() error {
	if len(d.Errors) == 0 {
		return nil
	}
	return d.Errors.sorted()
}

// Usable reports whether enough could be read for further checks to make sense.
func (d *Document) Usable() bool { return len(d.Errors) <= MaxErrors && !d.Unread("") }

// Unread reports whether the value at path itself could not be read.
func (d *Document) Unread(path string) bool { return slices.Contains(d.bad, path) }

// Misspelt reports whether the mapping at path has an unknown key.
func (d *Document) Misspelt(path string) bool { return d.typos[path] }

// Has reports whether the file gives a value. One whose ${VAR:-} is empty counts
// as left out, so that the environment's absence and the key's are the same.
func (d *Document) Has(path string) bool { return d.Given(path) && !d.empty[path] }

// Given reports whether the file has a value at all, be it an empty one.
func (d *Document) Given(path string) bool {
	_, ok := d.places[path]
	return ok
}

// Item names an item of the list at path; one value stands for a list of one.
func (d *Document) Item(path string, i int) string {
	if at := index(path, i); d.Has(at) {
		return at
	}
	return path
}

// At gives the place of a value or, if it is a default, of what it would be in.
func (d *Document) At(path string) Position {
	for {
		if p, ok := d.places[path]; ok {
			return p
		}
		i := strings.LastIndexAny(path, ".[")
		switch {
		case i >= 0:
			path = path[:i]
		case path != "":
			path = ""
		default:
			return Position{File: d.file}
		}
	}
}

// Sound reports whether the values at these paths, and all within them, could
// be read: what could not is reported already and cannot be checked further.
func (d *Document) Sound(paths ...string) bool {
	return !slices.ContainsFunc(paths, func(path string) bool {
		return slices.ContainsFunc(d.bad, func(bad string) bool { return within(bad, path) || within(path, bad) })
	})
}

// Fill notes that the value at path comes from a variable of the environment.
func (d *Document) Fill(path, variable string) { d.origin[path] = variable }

// Invalid reports a value that says something wrong, unless it could not even
// be read, or is a mapping with an unknown key: what it lacks may be just that.
// A value from the environment is named by its variable.
func (d *Document) Invalid(path, format string, args ...any) {
	switch name := d.origin[path]; {
	case d.typos[path] || !d.Sound(path):
	case name != "":
		d.Variable(name, format, args...)
	default:
		d.report(d.At(path), format, args...)
	}
}

// InvalidIf is Invalid where something is wrong.
func (d *Document) InvalidIf(wrong bool, path, format string, args ...any) {
	if wrong {
		d.Invalid(path, format, args...)
	}
}

// Missing reports that the mapping at path lacks something, unless an unknown
// key in it may be just that.
func (d *Document) Missing(path, format string, args ...any) {
	if !d.typos[path] {
		d.report(d.At(path), format, args...)
	}
}

// Variable reports a mistake in a variable of the environment.
func (d *Document) Variable(name, format string, args ...any) {
	d.report(Position{File: d.file}, "%s: %s", name, fmt.Sprintf(format, args...))
}

func (d *Document) report(at Position, format string, args ...any) {
	d.Errors = append(d.Errors, Error{at, fmt.Sprintf(format, args...)})
}

// within reports whether path is outer or lies in it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}

// join names a key of a mapping.
func join(path, key string) string { return strings.TrimPrefix(path+"."+key, ".") }

// index names an item of a list.
func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// MaxErrors bounds a report: with more mistakes than this, the first ones are
// fixed first.
const MaxErrors = 100

// Position is a place in a file, as the file was named to Read.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"` // from 1; 0: no place
	Column int    `json:"column,omitempty"`
}

// String gives file:line:column, the form that editors follow.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Error is one mistake in a file, and where it is. In JSON it is
// {"file":…,"line":…,"column":…,"message":…}.
type Error struct {
	Position
	Message string `json:"message"`
}

// Error gives file:line:column: message.
func (e Error) Error() string { return e.Position.String() + ": " + e.Message }

// Errors are all the mistakes of a file, sorted by place once Err gives them.
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
	if more := len(e) - MaxErrors; more > 0 {
		last := e[MaxErrors-1].Position
		e = append(e[:MaxErrors], Error{last, fmt.Sprintf("and %d more errors", more)})
	}
	return e
}

// Suggest gives ` (did you mean "x"?)` for the candidate nearest to name, or
// "" if none is near.
func Suggest(name string, candidates []string) string {
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

// OneOf lists alternatives for a person: a, b or c.
func OneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// Clip bounds a text that is quoted in a message.
func Clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
