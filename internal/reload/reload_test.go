package reload_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jewgo/gateway/internal/reload"
	"github.com/jewgo/gateway/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const good = `
version: 1
upstreams: {app: {targets: ["http://127.0.0.1:1"]}}
routes: [{name: all, match: {path: "/{rest...}"}, upstream: app}]
`

// part is a Part that notes what it is told.
type part struct {
	name   string
	refuse error
	notes  *[]string
}

func (p part) Prepare(*policy.Snapshot) (func(), error) {
	*p.notes = append(*p.notes, "prepare "+p.name)
	return func() { *p.notes = append(*p.notes, "commit "+p.name) }, p.refuse
}

// reloader reloads a file; outcomes gets the error of every attempt.
func reloader(t *testing.T) (r *reload.Reloader, file string, outcomes chan error) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "gateway.yaml")
	write(t, file, good)
	outcomes = make(chan error, 100)
	r = &reload.Reloader{
		Load:   func() (*policy.Snapshot, error) { return policy.Load(file, nil) },
		Live:   &policy.Live{},
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

// run starts Run and ends it with the test.
func run(t *testing.T, r *reload.Reloader, hup chan os.Signal, file string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx, hup, file) }()
	t.Cleanup(func() { cancel(); <-done })
}

// next waits for an attempt.
func next(t *testing.T, outcomes chan error) error {
	t.Helper()
	select {
	case err := <-outcomes:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("no attempt to reload")
		return nil
	}
}

// settled gives Run the time to begin watching, which it does not tell.
func settled() { time.Sleep(300 * time.Millisecond) }

func TestRun(t *testing.T) {
	t.Run("a signal reloads, changed or not", func(t *testing.T) {
		r, file, outcomes := reloader(t)
		hup := make(chan os.Signal)
		run(t, r, hup, file)
		hup <- os.Interrupt
		if err := next(t, outcomes); err != nil {
			t.Error(err)
		}
	})
	t.Run("a file that is replaced is read, once for a flurry of writes", func(t *testing.T) {
		r, file, outcomes := reloader(t)
		run(t, r, nil, file)
		settled()
		for range 5 {
			write(t, file+".new", good+"log: {access: off}\n")
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		}
		if err := next(t, outcomes); err != nil {
			t.Error(err)
		}
		settled()
		if n := len(outcomes); n != 0 {
			t.Errorf("%d more attempts", n)
		}
	})
	t.Run("another file of the folder, and the same content, are nothing", func(t *testing.T) {
		r, file, outcomes := reloader(t)
		run(t, r, nil, file)
		settled()
		write(t, filepath.Join(filepath.Dir(file), "other"), "x")
		write(t, file, good)
		settled()
		settled()
		if n := len(outcomes); n != 0 {
			t.Errorf("%d attempts", n)
		}
	})
	t.Run("Kubernetes swaps the folder behind a link", func(t *testing.T) {
		r, _, outcomes := reloader(t)
		dir := t.TempDir()
		for name, text := range map[string]string{"v1": good, "v2": good + "log: {access: off}\n"} {
			if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, name, "gateway.yaml"), text)
		}
		link := func(to, from string) {
			if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
				t.Fatal(err)
			}
		}
		link("v1", "..data")
		link("..data/gateway.yaml", "gateway.yaml")
		file := filepath.Join(dir, "gateway.yaml")
		r.Load = func() (*policy.Snapshot, error) { return policy.Load(file, nil) }
		first, err := r.Load()
		if err != nil {
			t.Fatal(err)
		}
		r.Live.Store(first)
		run(t, r, nil, file)
		settled()
		link("v2", "..data_tmp")
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		if err := next(t, outcomes); err != nil {
			t.Error(err)
		}
		if r.Live.Load().Policy.Log.Access != "off" {
			t.Error("the new policy is not in force")
		}
	})
	t.Run("a folder that cannot be watched is reported, and signals work", func(t *testing.T) {
		r, _, outcomes := reloader(t)
		hup := make(chan os.Signal)
		run(t, r, hup, filepath.Join(t.TempDir(), "gone", "gateway.yaml"))
		if err := next(t, outcomes); err == nil || !strings.Contains(err.Error(), "watch") {
			t.Errorf("reported %v", err)
		}
		hup <- os.Interrupt
		if err := next(t, outcomes); err != nil {
			t.Error(err)
		}
	})
}

// A start takes seconds: what changes meanwhile must not wait for the next change.
func TestAChangeBeforeTheWatchIsNotMissed(t *testing.T) {
	r, file, outcomes := reloader(t) // what is in force is the file as it was
	write(t, file, good+"log: {access: off}\n")
	run(t, r, nil, file)
	if err := next(t, outcomes); err != nil {
		t.Error(err)
	}
	if r.Live.Load().Policy.Log.Access != "off" {
		t.Error("the new policy is not in force")
	}
}
