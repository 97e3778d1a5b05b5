package yamlfile

import (
	"fmt"
	"testing"
	"time"
)

// shop has a field of each kind.
type shop struct {
	Name   string            `yaml:"name" jsonschema:"required" check:"lower"`
	Open   bool              `yaml:"open" default:"true"`
	Mode   string            `yaml:"mode" jsonschema:"enum=quiet,enum=busy" default:"quiet"`
	Tags   StringList        `yaml:"tags" default:"a,b"`
	Shelf  shelf             `yaml:"shelf"`
	Extra  *shelf            `yaml:"extra"`
	Prices map[string]amount `yaml:"prices"`
	Staff  []shelf           `yaml:"staff"`
	Wage   wages             `yaml:"wage"`
}

type shelf struct {
	Size  int      `yaml:"size" jsonschema:"minimum=1,maximum=9" default:"3"`
	Every Duration `yaml:"every" default:"1m"`
}

type amount = Size

type wages map[string]int

func (w *wages) SetAll(n int) { *w = wages{"": n} }

func options(vars map[string]string) Options {
	return Options{
		Kind:   "shop",
		Getenv: func(name string) string { return vars[name] },
		Words:  map[string]string{"title": "name", "color": "shops have no color"},
		Checks: map[string]func(key, value string) string{"lower": func(key, value string) string {
			if value != "" && value[0] < 'a' {
				return key + " must begin with a small letter"
			}
			return ""
		}},
	}
}

func TestRead(t *testing.T) {
	for _, c := range []struct{ what, text, want string }{
		{"defaults", "name: x", `{x true quiet [a b] {3 1m0s} <nil> map[] [] map[]}`},
		{"values", "{name: x, open: false, mode: busy, tags: [c], shelf: {size: 4}, prices: {tea: 2KiB}}", `{x false busy [c] {4 1m0s} <nil> map[tea:2048] [] map[]}`},
		{"one value as a list, a number for all", "name: x\ntags: c\nwage: 7\n", `{x true quiet [c] {3 1m0s} <nil> map[] [] map[:7]}`},
		{"defaults of items", "name: x\nstaff:\n  - size: 9\n  - {every: 2s}\n", `{x true quiet [a b] {3 1m0s} <nil> map[] [{9 1m0s} {3 2s}] map[]}`},
		{"variables", `{name: "${WHO}", open: "${NO}", shelf: {size: "${N:-5}", every: "${EMPTY:-}"}}`, `{me false quiet [a b] {5 1m0s} <nil> map[] [] map[]}`},
		{"a merge key", "name: x\nshelf: &s {size: 4, every: 5s}\nstaff: [{<<: *s, size: 6}]\n", `{x true quiet [a b] {4 5s} <nil> map[] [{6 5s}] map[]}`},
		{"nothing that is required", "open: true", "f.yaml:1:1: missing key \"name\""},
		{"a misspelt key", "name: x\nopne: true", `f.yaml:2:1: unknown key "opne" (did you mean "open"?)`},
		{"a key of another level", "name: x\nevery: 1s", `f.yaml:2:1: unknown key "every" (did you mean extra.every?)`},
		{"a key in other words", "name: x\ntitle: y", `f.yaml:2:1: unknown key "title" (did you mean name?)`},
		{"a key that cannot be", "name: x\ncolor: y", `f.yaml:2:1: unknown key "color" (shops have no color)`},
		{"a check", "name: X", "f.yaml:1:7: name must begin with a small letter"},
		{"bounds", "name: x\nshelf: {size: 10}", "f.yaml:2:15: 10 is too large: at most 9"},
		{"words", "name: x\nmode: bsuy", `f.yaml:2:7: expected quiet or busy, found "bsuy" (did you mean "busy"?)`},
		{"all at once", "{name: 5, open: perhaps, shelf: []}", "f.yaml:1:8: expected a string, found the number 5 (quote it)\n" +
			"f.yaml:1:17: expected true or false, found \"perhaps\"\nf.yaml:1:33: expected a mapping, found a list"},
		{"no text", "name: \xff", "f.yaml:1:7: not UTF-8"},
		{"a control character", "name: x\n# é\x01", "f.yaml:2:4: control characters are not allowed"},
		{"two documents", "name: x\n---\nname: y", "f.yaml:2:1: second document: a shop must be a single one"},
	} {
		var s shop
		d := Read("f.yaml", []byte(c.text), &s, options(map[string]string{"WHO": "me", "NO": "false"}))
		got := fmt.Sprintf("{%s %v %s %v %v %v %v %v %v}", s.Name, s.Open, s.Mode, s.Tags, s.Shelf, s.Extra, s.Prices, s.Staff, s.Wage)
		if err := d.Err(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.what, got, c.want)
		}
	}
}

// String shows a shelf's duration as it is meant.
func (s shelf) String() string { return fmt.Sprintf("{%d %v}", s.Size, time.Duration(s.Every)) }

func ExampleRead() {
	var config struct {
		Listen  string   `yaml:"listen" default:":8080"`
		Timeout Duration `yaml:"timeout" default:"30s"`
	}
	d := Read("app.yaml", []byte("listen: ${ADDRESS:-:9090}\ntimeuot: 10s\n"), &config, Options{})
	fmt.Println(config.Listen, config.Timeout.Std())
	fmt.Println(d.Err())
	// Output:
	// :9090 30s
	// app.yaml:2:1: unknown key "timeuot" (did you mean "timeout"?)
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("{name: x, tags: [c], shelf: &s {size: 4}, staff: [{<<: *s}], wage: {a: 1}}"))
	f.Add([]byte("name: \"${WHO:-you}\"\nprices: {tea: 1KiB}\nextra: {every: 1s}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s shop
		d := Read("f.yaml", data, &s, options(nil))
		if len(d.Errors) > 0 && d.Err() == nil {
			t.Error("errors are lost")
		}
		if d.Err() == nil && (s.Name == "" && !d.Given("name") || s.Shelf.Size < 1 || s.Shelf.Size > 9) {
			t.Errorf("accepted: %+v", s)
		}
	})
}
