package policy

import (
	"fmt"
	"strings"
)

// document is a policy file on its way to a Snapshot: where everything stands
// and what is wrong with it. Values are named by path, as routes[3].match.path.
type document struct {
	file   string
	places map[string]Position // of every value in the file
	empty  map[string]bool     // values whose ${VAR:-} came out empty
	origin map[string]string   // values that a variable filled, by its name
	typos  map[string]bool     // mappings with an unknown key
	bad    []string            // values that could not be read
	errs   Errors
}

func newDocument(file string) *document {
	return &document{
		file:   file,
		places: map[string]Position{},
		empty:  map[string]bool{},
		origin: map[string]string{},
		typos:  map[string]bool{},
	}
}

// join names a key of a mapping.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// index names an item of a list.
func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// has reports whether the file gives a value. One whose ${VAR:-} is empty counts
// as left out, so that the environment's absence and the key's are the same.
func (d *document) has(path string) bool {
	return d.given(path) && !d.empty[path]
}

// given reports whether the file has a value at all, be it an empty one.
func (d *document) given(path string) bool {
	_, ok := d.places[path]
	return ok
}

// at gives the place of a value or, if it is a default, of what it would be in.
func (d *document) at(path string) Position {
	for {
		if p, ok := d.places[path]; ok {
			return p
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			break
		}
		path = path[:i]
	}
	if p, ok := d.places[""]; ok {
		return p
	}
	return Position{File: d.file}
}

// sound reports whether the values at these paths, and all within them, could
// be read: what could not is reported already and cannot be checked further.
func (d *document) sound(paths ...string) bool {
	for _, path := range paths {
		for _, bad := range d.bad {
			if within(bad, path) || within(path, bad) {
				return false
			}
		}
	}
	return true
}

// within reports whether path is outer or lies in it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}

// unreadable reports a value that could not be read.
func (d *document) unreadable(path string, at Position, format string, args ...any) {
	d.bad = append(d.bad, path)
	d.report(at, format, args...)
}

// invalid reports a value that says something wrong, unless it could not even
// be read, or is a mapping with an unknown key: what it lacks may be just that.
// A value from the environment is named by its variable.
func (d *document) invalid(path, format string, args ...any) {
	if d.typos[path] || !d.sound(path) {
		return
	}
	if name := d.origin[path]; name != "" {
		d.report(Position{File: d.file}, "%s: %s", name, fmt.Sprintf(format, args...))
		return
	}
	d.report(d.at(path), format, args...)
}

// missing reports that the mapping at path lacks something, unless an unknown
// key in it may be just that.
func (d *document) missing(path, format string, args ...any) {
	if !d.typos[path] {
		d.report(d.at(path), format, args...)
	}
}

func (d *document) report(at Position, format string, args ...any) {
	d.errs = append(d.errs, Error{at, fmt.Sprintf(format, args...)})
}
