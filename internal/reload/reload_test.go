package reload_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jewgo/gateway/internal/reload"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const good = `
version: 1
upstreams: {app: {targets: ["http://127.0.0.1:1"]}}
routes: [{name: all, match: {path: "/{rest...}"}, upstream: app}]
`

// part is a Part that records its calls.
type part struct {
	name   string
	refuse error
	notes  *[]string
}

func (p part) Prepare(*policy.Snapshot) (func(), error) {
	*p.notes = append(*p.notes, "prepare "+p.name)
	return func() { *p.notes = append(*p.notes, "commit "+p.name) }, p.refuse
}

// reloader reloads a file; outcomes receives the error of every attempt.
func reloader(t *testing.T) (r *reload.Reloader, file string, outcomes chan error) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "gateway.yaml")
	write(t, file, good)
	outcomes = make(chan error, 100)
	r = &reload.Reloader{
		Load:   func() (*policy.Snapshot, error) { return policy.Load(file, nil) },
		Live:   &policy.Live{},
		Every:  every,
		Report: func(_ *policy.Snapshot, err error) { outcomes <- err },
	}
	first, err := r.Load()
	if err != nil {
		t.Fatal(err)
	}
	r.Live.Store(first)
	return r, file, outcomes
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestAllPartsPrepareBeforeOneCommits(t *testing.T) {
	r, file, _ := reloader(t)
	var notes []string
	r.Parts = []reload.Part{part{"a", nil, &notes}, part{"b", nil, &notes}}
	write(t, file, good+"log: {access: off}\n")
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"prepare a", "prepare b", "commit a", "commit b"}; !slices.Equal(notes, want) {
		t.Errorf("order %q", notes)
	}
	if r.Live.Load().Policy.Log.Access != "off" {
		t.Error("the new policy is not in force")
	}
}

func TestARefusalLeavesEverythingAsItWas(t *testing.T) {
	r, file, outcomes := reloader(t)
	var notes []string
	no := errors.New("no")
	r.Parts = []reload.Part{part{"a", nil, &notes}, part{"b", no, &notes}}
	before := r.Live.Load()
	write(t, file, good+"log: {access: off}\n")
	if err := r.Reload(); !errors.Is(err, no) {
		t.Errorf("error %v", err)
	}
	if slices.Contains(notes, "commit a") || r.Live.Load() != before {
		t.Errorf("something was put in force: %q", notes)
	}
	if err := <-outcomes; !errors.Is(err, no) {
		t.Errorf("reported %v", err)
	}
}

func TestWhatNeedsARestartIsNamedAllAtOnce(t *testing.T) {
	r, file, _ := reloader(t)
	before := r.Live.Load()
	write(t, file, good+"server: {listen: ':9'}\ncache: {memory: 100MiB}\n")
	err := r.Reload()
	if err == nil || !strings.Contains(err.Error(), "server.listen") || !strings.Contains(err.Error(), "cache.memory") {
		t.Errorf("error %v", err)
	}
	if r.Live.Load() != before {
		t.Error("the policy was put in force")
	}
}

func TestWhatOfListeningNeedsARestart(t *testing.T) {
	const files, acme = "certificates: [{cert_file: a, key_file: b}]", "acme: {hosts: [a.test]}"
	for _, c := range []struct{ before, after, names string }{
		{"{}", "{h2c: true, proxy_protocol: 10.0.0.0/8, listen: [':8080', ':8081']}", "server.listen server.proxy_protocol server.h2c"},
		{"{}", "{tls: {" + files + "}}", "server.tls"},
		{"{tls: {" + files + "}}", "{tls: {" + files + ", redirect: ':80', " + acme + "}}", "server.tls.redirect server.tls.acme"},
		{"{tls: {" + files + "}}", "{tls: {certificates: [{cert_file: c, key_file: d}], client_ca: e, min_version: 1.3, hsts: {max_age: 1d}}}", ""},
		{"{tls: {" + acme + "}}", "{tls: {" + acme + ", min_version: 1.3}}", ""},
	} {
		r, file, _ := reloader(t)
		write(t, file, good+"server: "+c.before+"\n")
		first, err := r.Load()
		if err != nil {
			t.Fatal(err)
		}
		r.Live.Store(first)
		write(t, file, good+"server: "+c.after+"\n")
		var want []string
		for name := range strings.FieldsSeq(c.names) {
			want = append(want, name+" has changed: that needs a restart")
		}
		if got := fmt.Sprint(r.Reload()); got != cmp.Or(strings.Join(want, "\n"), "<nil>") {
			t.Errorf("%s to %s: %s", c.before, c.after, got)
		}
	}
}

// run starts Run and ends it with the test.
func run(t *testing.T, r *reload.Reloader, hup chan os.Signal, file string) {
	t.Helper()
	env.Run(t, func(ctx context.Context) { r.Run(ctx, hup, file) })
}

// next waits for an attempt.
func next(t *testing.T, outcomes chan error) error {
	t.Helper()
	return env.Receive(t, "an attempt to reload", outcomes)
}

const every = 50 * time.Millisecond

// settled waits until Run must have checked the file.
func settled() { time.Sleep(4 * every) }

const changed = good + "log: {access: off}\n"

func TestRunReloadsOnASignal(t *testing.T) {
	t.Parallel()
	r, file, outcomes := reloader(t)
	hup := make(chan os.Signal)
	run(t, r, hup, file)
	hup <- os.Interrupt
	if err := next(t, outcomes); err != nil {
		t.Error(err)
	}
}

// Run notices every way in which the path can lead to another content.
func TestRunSeesEveryKindOfChange(t *testing.T) {
	rename := func(t *testing.T, from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	link := func(t *testing.T, to, from string) {
		t.Helper()
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	folder := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(path, "gateway.yaml"), text)
	}
	for _, tt := range []struct {
		name   string
		before func(t *testing.T, dir string) (file string)
		change func(t *testing.T, dir string)
	}{
		{
			"edited in place",
			func(t *testing.T, dir string) string { folder(t, dir, good); return dir + "/gateway.yaml" },
			func(t *testing.T, dir string) { write(t, dir+"/gateway.yaml", changed) },
		},
		{
			"replaced by several quick writes",
			func(t *testing.T, dir string) string { folder(t, dir, good); return dir + "/gateway.yaml" },
			func(t *testing.T, dir string) {
				for i := range 5 {
					write(t, fmt.Sprint(dir, "/new", i), changed)
				}
				for i := range 5 { // without a pause: a check in between would be another attempt
					rename(t, fmt.Sprint(dir, "/new", i), dir+"/gateway.yaml")
				}
			},
		},
		{
			"the target of a link is edited",
			func(t *testing.T, dir string) string {
				folder(t, dir+"/real", good)
				link(t, "real/gateway.yaml", dir+"/gateway.yaml")
				return dir + "/gateway.yaml"
			},
			func(t *testing.T, dir string) { write(t, dir+"/real/gateway.yaml", changed) },
		},
		{
			"the target of a link is replaced",
			func(t *testing.T, dir string) string {
				folder(t, dir+"/real", good)
				link(t, dir+"/real/gateway.yaml", dir+"/gateway.yaml")
				return dir + "/gateway.yaml"
			},
			func(t *testing.T, dir string) {
				write(t, dir+"/real/new", changed)
				rename(t, dir+"/real/new", dir+"/real/gateway.yaml")
			},
		},
		{
			"its folder is replaced",
			func(t *testing.T, dir string) string { folder(t, dir+"/etc", good); return dir + "/etc/gateway.yaml" },
			func(t *testing.T, dir string) {
				folder(t, dir+"/new", changed)
				rename(t, dir+"/etc", dir+"/old")
				rename(t, dir+"/new", dir+"/etc")
			},
		},
		{
			"a folder above is removed and comes back later",
			func(t *testing.T, dir string) string {
				folder(t, dir+"/a/b/c", good)
				return dir + "/a/b/c/gateway.yaml"
			},
			func(t *testing.T, dir string) {
				if err := os.RemoveAll(dir + "/a"); err != nil {
					t.Fatal(err)
				}
				settled()
				folder(t, dir+"/a/b/c", changed)
			},
		},
		{
			"Kubernetes swaps the folder behind a link",
			func(t *testing.T, dir string) string {
				folder(t, dir+"/v1", good)
				link(t, "v1", dir+"/..data")
				link(t, "..data/gateway.yaml", dir+"/gateway.yaml")
				return dir + "/gateway.yaml"
			},
			func(t *testing.T, dir string) {
				folder(t, dir+"/v2", changed)
				link(t, "v2", dir+"/..data_tmp")
				rename(t, dir+"/..data_tmp", dir+"/..data")
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, _, outcomes := reloader(t)
			dir := t.TempDir()
			file := tt.before(t, dir)
			r.Load = func() (*policy.Snapshot, error) { return policy.Load(file, nil) }
			first, err := r.Load()
			if err != nil {
				t.Fatal(err)
			}
			r.Live.Store(first)
			run(t, r, nil, file)
			settled()
			tt.change(t, dir)
			for r.Live.Load().Policy.Log.Access != "off" {
				_ = next(t, outcomes) // an error, if the file was missing for a while
			}
			settled()
			if n := len(outcomes); n != 0 {
				t.Errorf("%d more attempts", n)
			}
		})
	}
}

func TestRunLeavesAloneWhatHasNotChanged(t *testing.T) {
	t.Parallel()
	r, file, outcomes := reloader(t)
	run(t, r, nil, file)
	settled()
	write(t, filepath.Join(filepath.Dir(file), "other"), "x")
	write(t, file, good)
	settled()
	if n := len(outcomes); n != 0 {
		t.Errorf("%d attempts", n)
	}
}

// A missing file is reported once, and signals still work.
func TestRunWithoutAFile(t *testing.T) {
	t.Parallel()
	r, file, outcomes := reloader(t)
	hup := make(chan os.Signal)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	run(t, r, hup, file)
	if err := next(t, outcomes); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reported %v", err)
	}
	settled()
	if n := len(outcomes); n != 0 {
		t.Errorf("%d more attempts", n)
	}
	hup <- os.Interrupt
	if err := next(t, outcomes); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reported %v", err)
	}
}

// A start takes seconds: a change during that time must not wait for the next change.
func TestAChangeBeforeTheWatchIsNotMissed(t *testing.T) {
	t.Parallel()
	r, file, outcomes := reloader(t) // the policy in force is the file's first content
	write(t, file, good+"log: {access: off}\n")
	run(t, r, nil, file)
	if err := next(t, outcomes); err != nil {
		t.Error(err)
	}
	if r.Live.Load().Policy.Log.Access != "off" {
		t.Error("the new policy is not in force")
	}
}
