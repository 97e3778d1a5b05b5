// Package yamlfile reads a YAML file strictly into Go structs and remembers the position of every
// value.
//
// Keys are the structs' yaml tags. A jsonschema tag limits the values (required, enum, minimum,
// maximum, minItems), a check tag names one of the caller's checks, and a default tag is the value of
// a missing key. Block and flow style are equal, a single value may stand for a list of one, and
// ${VAR:-default} is replaced from the environment. All mistakes are reported at once, with file,
// line and column. The size of the input is bounded.
//
// The package does no I/O except reading the file. The meaning of keys, and checks that involve
// several of them, are left to the caller, which reports its errors to the Document too.
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

// Options configure Read. The zero value has no variables and no checks.
type Options struct {
	Kind   string              // kind of file for messages, such as "policy"
	Getenv func(string) string // resolves ${VAR}
	// Words maps key names of other programs to the key here, or to a text with spaces that explains
	// why there is none.
	Words map[string]string
	// Checks are named by check tags, with ",optional" if an empty value passes. Each returns what is
	// wrong with the value of a key, which is printed by fmt, or "".
	Checks map[string]func(key, value string) string
}

// Document holds the positions of a file's values, and its errors. Values are named by path, such as
// routes[3].match.path.
type Document struct {
	Errors Errors // in the order in which they were found

	file   string
	places map[string]Position // of every value in the file
	empty  map[string]bool     // values whose ${VAR:-} is empty
	origin map[string]string   // variable that filled a value, by path
	typos  map[string]bool     // mappings with an unknown key
	bad    []string            // values that could not be read
}

// ReadFile returns the text of a file, at most one byte more than Read accepts.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// Read fills the struct that into points to: first with its defaults, then with every value of the
// text that can be read. name is the file's name in messages.
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

// Err returns the errors, sorted by position and at most MaxErrors, or nil.
func (d *Document) Err() error {
	if len(d.Errors) == 0 {
		return nil
	}
	return d.Errors.sorted()
}

// Usable reports whether enough could be read for further checks.
func (d *Document) Usable() bool { return len(d.Errors) <= MaxErrors && !d.Unread("") }

// Unread reports whether the value at path itself could not be read.
func (d *Document) Unread(path string) bool { return slices.Contains(d.bad, path) }

// Misspelt reports whether the mapping at path has an unknown key.
func (d *Document) Misspelt(path string) bool { return d.typos[path] }

// Has reports whether the file sets a value. One whose ${VAR:-} is empty counts as left out, so that
// an unset variable is the same as a missing key.
func (d *Document) Has(path string) bool { return d.Given(path) && !d.empty[path] }

// Given reports whether the file has a value at all, even an empty one.
func (d *Document) Given(path string) bool {
	_, ok := d.places[path]
	return ok
}

// Item returns the path of an item of the list at path; a single value may stand for a list of one.
func (d *Document) Item(path string, i int) string {
	if at := index(path, i); d.Has(at) {
		return at
	}
	return path
}

// At returns the position of a value or, if it is a default, of the nearest mapping around it.
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

// Sound reports whether the values at these paths, and all within them, could be read. Those that
// could not are already reported and cannot be checked further.
func (d *Document) Sound(paths ...string) bool {
	return !slices.ContainsFunc(paths, func(path string) bool {
		return slices.ContainsFunc(d.bad, func(bad string) bool { return within(bad, path) || within(path, bad) })
	})
}

// Fill notes that the value at path comes from an environment variable.
func (d *Document) Fill(path, variable string) { d.origin[path] = variable }

// Invalid reports a wrong value. It reports nothing if the value could not be read, or is a mapping
// with an unknown key, which may be the misspelt cause. A value from the environment is named by its
// variable.
func (d *Document) Invalid(path, format string, args ...any) {
	switch name := d.origin[path]; {
	case d.typos[path] || !d.Sound(path):
	case name != "":
		d.Variable(name, format, args...)
	default:
		d.report(d.At(path), format, args...)
	}
}

// InvalidIf calls Invalid if wrong.
func (d *Document) InvalidIf(wrong bool, path, format string, args ...any) {
	if wrong {
		d.Invalid(path, format, args...)
	}
}

// Missing reports that the mapping at path lacks a key, unless it has an unknown key, which may be the
// missing one misspelt.
func (d *Document) Missing(path, format string, args ...any) {
	if !d.typos[path] {
		d.report(d.At(path), format, args...)
	}
}

// Variable reports a mistake in an environment variable.
func (d *Document) Variable(name, format string, args ...any) {
	d.report(Position{File: d.file}, "%s: %s", name, fmt.Sprintf(format, args...))
}

func (d *Document) report(at Position, format string, args ...any) {
	d.Errors = append(d.Errors, Error{at, fmt.Sprintf(format, args...)})
}

// within reports whether path is outer or inside it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}

// join returns the path of a key in a mapping.
func join(path, key string) string { return strings.TrimPrefix(path+"."+key, ".") }

// index returns the path of an item in a list.
func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// MaxErrors bounds the errors in a report.
const MaxErrors = 100

// Position is a place in a file. File is the name that Read got.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"` // from 1; 0: no place
	Column int    `json:"column,omitempty"`
}

// String returns file:line:column, which editors can follow.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Error is one mistake in a file. In JSON it is {"file":…,"line":…,"column":…,"message":…}.
type Error struct {
	Position
	Message string `json:"message"`
}

// Error returns file:line:column: message.
func (e Error) Error() string { return e.Position.String() + ": " + e.Message }

// Errors are the mistakes of a file, sorted by position if Err returned them.
type Errors []Error

// Error returns one line for each mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// sorted sorts by position, drops duplicates (an anchor used twice is read twice) and bounds the
// number.
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

// Suggest returns ` (did you mean "x"?)` for the candidate most similar to name, or "" if none is
// similar.
func Suggest(name string, candidates []string) string {
	const longest, most = 64, 200 // bytes and candidates: bounds the cost; longer names are no typos
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

// distance is the Levenshtein distance with swaps of neighbours: the number of insertions, deletions,
// replacements and swaps of bytes that turn a into b.
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

// OneOf lists alternatives for a message: a, b or c.
func OneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// Clip shortens a text that is quoted in a message.
func Clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
