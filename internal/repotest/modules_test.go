package repotest

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// pins are the modules whose versions were chosen by hand; ADR 0002 says why.
var pins = map[string]string{
	"github.com/redis/go-redis/v9":        "v9.23.0",
	"github.com/go-redis/redis_rate/v10":  "v10.0.1",
	"github.com/rbcervilla/redisstore/v9": "v9.0.0",
	"github.com/gorilla/sessions":         "v1.4.0",
	"github.com/gorilla/securecookie":     "v1.1.2",
}

// goMod is the part of `go mod edit -json` that is checked.
type goMod struct {
	Require []struct {
		Path, Version string
		Indirect      bool
	}
	Replace []struct{ Old, New struct{ Path string } }
}

func checkPins(m goMod) (faults []string) {
	left := maps.Clone(pins)
	for _, r := range m.Require {
		if want, ok := left[r.Path]; ok && r.Version != want {
			faults = append(faults, fmt.Sprintf("go.mod requires %s %s, not %s", r.Path, r.Version, want))
		}
		delete(left, r.Path)
	}
	for p := range left {
		faults = append(faults, "go.mod does not require "+p)
	}
	for _, r := range m.Replace {
		faults = append(faults, "go.mod replaces "+r.Old.Path)
	}
	return faults
}

func checkDependencies(m goMod, record string) (faults []string) {
	for _, r := range m.Require {
		if !r.Indirect && !strings.Contains(record, "`"+r.Path+"`") {
			faults = append(faults, r.Path+" has no reason in docs/adr/0003")
		}
	}
	return faults
}

func readGoMod(t *testing.T) goMod {
	t.Helper()
	var m goMod
	if err := json.Unmarshal(command(t, "go", "mod", "edit", "-json"), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPins(t *testing.T) { report(t, checkPins(readGoMod(t))) }

// TestPinsInForce checks the versions that are really built: another requirement may raise a version
// above the one in go.mod.
func TestPinsInForce(t *testing.T) {
	args := append([]string{"list", "-m", "-f", "{{.Path}} {{.Version}}"}, slices.Sorted(maps.Keys(pins))...)
	for line := range strings.Lines(string(command(t, "go", args...))) {
		name, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		if version != pins[name] {
			t.Errorf("%s is built at %s, not %s", name, version, pins[name])
		}
	}
}

func TestDependenciesAreExplained(t *testing.T) {
	var record string
	for name, content := range files(t) {
		if ok, err := path.Match("docs/adr/0003-*.md", name); ok && err == nil {
			record = content
		}
	}
	report(t, checkDependencies(readGoMod(t), record))
}

func TestCheckPins(t *testing.T) {
	parse := func(s string) (m goMod) {
		if err := json.Unmarshal([]byte(s), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	good := `{"Require":[
		{"Path":"github.com/redis/go-redis/v9","Version":"v9.23.0"},{"Path":"github.com/go-redis/redis_rate/v10","Version":"v10.0.1"},
		{"Path":"github.com/rbcervilla/redisstore/v9","Version":"v9.0.0"},{"Path":"github.com/gorilla/sessions","Version":"v1.4.0"},
		{"Path":"github.com/gorilla/securecookie","Version":"v1.1.2"},{"Path":"example.org/x","Version":"v1.0.0","Indirect":true}]}`
	expect(t, checkPins(parse(good)))
	expect(t, checkPins(parse(strings.Replace(good, "v9.23.0", "v9.0.2", 1))), "go-redis/v9 v9.0.2")
	expect(t, checkPins(parse(strings.Replace(good, "gorilla/sessions", "gorilla/other", 1))), "does not require github.com/gorilla/sessions")
	expect(t, checkPins(parse(`{"Replace":[{"Old":{"Path":"a"},"New":{"Path":"b"}}],`+good[1:])), "replaces a")

	const record = "`github.com/redis/go-redis/v9` `github.com/go-redis/redis_rate/v10` `github.com/rbcervilla/redisstore/v9` `github.com/gorilla/sessions`"
	expect(t, checkDependencies(parse(good), record), "github.com/gorilla/securecookie has no reason")
}
