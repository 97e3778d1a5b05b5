package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jewgo/gateway/test/env"
)

// A mutant is a gateway with one broken decision. Each must fail the drill, for the expected reason.
type mutant struct {
	sentence string
	name     string   // see mutants
	args     []string // of gateway-drill
	want     string   // in what it says
}

func TestMutantsFailTheDrill(t *testing.T) {
	redis := func(fault, each string) []string {
		return []string{"redis", "--fault", fault, "--each", each, "--rate", "60"}
	}
	limits := []string{"limits", "--for", "12s", "--seed", "1"}
	sessions := []string{"sessions", "--for", "12s", "--seed", "1"}
	for _, m := range []mutant{
		{"Redis is asked after it was given up", "asked", redis("half-open", "2s"), "p50 rose by"},
		{"late answers are used", "late", redis("late", "2s"), "no late answer was dropped"},
		{"the probe does not write", "probe", redis("readonly", "2s"), "though it was broken all the time"},
		{"an old copy is not noticed", "copy", redis("restored-old", "2s"), "times that Redis had lost data, want"},
		{"each gateway waits at the barrier for its own time", "barrier", redis("cut", "2s"), "after the first, allowed 500ms"},
		{"purges of other gateways are not read", "unread", redis("table-evicted", "700ms"), "was purged, and a gateway that started since served it"},
		{"responses are written until Redis refuses them", "full", redis("full", "10s"), "responses filled Redis to"},
		{"each gateway has the whole limit while Redis is down", "whole", limits, "tokens beyond the bound"},
		{"charges made during an outage are not settled", "settle", limits, "tokens beyond the bound"},
		{"logouts are not in the journal", "journal", sessions, "copies of ended sessions were accepted"},
		{"Redis is used before it has heard of logouts", "tombstones", sessions, "though Redis had been told"},
		{"records overwrite later ones", "plain", sessions, "writes were lost"},
	} {
		t.Run(m.sentence, func(t *testing.T) {
			t.Parallel()
			cmd := drillCommand(t, m.args...)
			cmd.Path = filepath.Join(filepath.Dir(cmd.Args[len(cmd.Args)-1]), "gateway-drill") // as users run it, at half the cost
			cmd.Env = append(cmd.Env, "GATEWAY_MUTANT="+m.name)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "FAIL") || !strings.Contains(string(out), m.want) {
				t.Errorf("%v\n%s\nwant a failure that says %q", err, out, m.want)
			}
		})
	}
}

// mutations are the changes to source files that make a gateway in which GATEWAY_MUTANT chooses a
// mutant: pairs of old and new text. Each old text must be in its file exactly once.
var mutations = map[string][]string{
	"internal/failover/ask.go": {
		"	if !s.Up() {\n", "	if !s.Up() && !mutant(\"asked\") {\n",
		"	if seen.state() != Up {\n", "	if seen.state() != Up && !mutant(\"asked\") {\n",
		"late := seen.late(s.load())", `late := seen.late(s.load()) && !mutant("late")`,
	},
	"internal/store/redis/probe.go": {
		"	reply, err := probeScript.Run(", "	if mutant(\"probe\") {\n" +
			"		return failover.Epoch{Incarnation: \"incarnation\", Counter: time.Now().UnixNano()}, client.Ping(ctx).Err()\n" +
			"	}\n	reply, err := probeScript.Run(",
	},
	"internal/failover/run.go": {
		"	loss := lost(s.last, found)\n", "	loss := lost(s.last, found)\n	if mutant(\"copy\") {\n		loss = nil\n	}\n",
		"	timer := time.NewTimer(min(left, maxBarrier))", "	if mutant(\"barrier\") {\n		left = time.Duration(s.last.Counter%3) * time.Second\n	}\n	timer := time.NewTimer(min(left, maxBarrier))",
	},
	"middleware/cache/tags_sync.go": {"read := t.unread.Swap(false)", `read := t.unread.Swap(false) && !mutant("unread")`},
	"middleware/session/failover.go": {
		"if err := f.cfg.Journal.Keep(ctx, revocations, false); err != nil {", "if mutant(\"journal\") {\n		} else if err := f.cfg.Journal.Keep(ctx, revocations, false); err != nil {",
		"	return f.replay || f.waitingLocked() > 0\n", "	return (f.replay || f.waitingLocked() > 0) && (!mutant(\"tombstones\") || len(f.records) > 0)\n",
		"	if revocations := f.takeRevocations(revocationBatch); len(revocations) > 0 {\n", "	if mutant(\"tombstones\") {\n" +
			"		if ref, ok := f.takeRecord(); ok {\n			return f.bringRecord(ctx, ref)\n		}\n" +
			"	}\n	if revocations := f.takeRevocations(revocationBatch); len(revocations) > 0 {\n",
	},
	"internal/store/redis/sessions.go": {
		"	revoked := key + \"}:revoked\"\n", "	revoked := key + \"}:revoked\"\n	if mutant(\"plain\") {\n		return c.UniversalClient.Set(ctx, key+\"}\", value, ttl)\n	}\n",
	},
	"internal/store/redis/guard.go": {"	if g.full || !fits {\n", "	if (g.full || !fits) && !mutant(\"full\") {\n"},
	"middleware/ratelimit/limiter.go": {
		"b.Alone(c.Quota, now, c.Cost, n)", `b.Alone(c.Quota, now, c.Cost, map[bool]int{true: min(n, 1), false: n}[mutant("whole")])`,
	},
	"middleware/ratelimit/settle.go": {
		"	whole, err := l.cfg.Remote.Settle(ctx, batch)\n", "	brought := batch\n	if mutant(\"settle\") {\n		brought = nil\n	}\n	whole, err := l.cfg.Remote.Settle(ctx, brought)\n" +
			"	for mutant(\"settle\") && len(whole) < len(batch) {\n		whole, err = append(whole, 0), nil\n	}\n",
	},
}

// built is the folder that mutants has made.
var built string

// mutants builds that gateway once, and the drill beside it. Without GATEWAY_MUTANT it behaves normally.
var mutants = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	if built, err = os.MkdirTemp("", "gateway-mutants-"); err != nil {
		return "", err
	}
	replace := map[string]string{}
	put := func(path, text string) error {
		replace[path] = filepath.Join(built, strings.NewReplacer("/", "-").Replace(strings.TrimPrefix(path, root)))
		return os.WriteFile(replace[path], []byte(text), 0o644)
	}
	for file, changes := range mutations {
		path := filepath.Join(root, file)
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		for i := 0; i < len(changes); i += 2 {
			if strings.Count(string(text), changes[i]) != 1 {
				return "", errors.New(file + " must contain exactly once:\n" + changes[i])
			}
		}
		pkg := filepath.Dir(path)
		if err := errors.Join(
			put(path, strings.NewReplacer(changes...).Replace(string(text))),
			put(filepath.Join(pkg, "mutant.go"), "package "+filepath.Base(pkg)+"\n\nimport \"os\"\n\nfunc mutant(name string) bool { return os.Getenv(\"GATEWAY_MUTANT\") == name }\n"),
		); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(built, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o644); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-overlay", file, "-o", built, "../gateway", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as in the Makefile, so that much of it is built already
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.New("build: " + err.Error() + "\n" + string(out))
	}
	return filepath.Join(built, "gateway"), nil
})

// drillCommand is gateway-drill, by way of TestMain, with a gateway to drill.
func drillCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	gateway, err := mutants()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], append(args, "--gateway", gateway)...)
	cmd.Env = append(os.Environ(), "GATEWAY_DRILL=1")
	return cmd
}

func TestMain(m *testing.M) {
	if os.Getenv("GATEWAY_DRILL") != "" {
		os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
	}
	env.SideBySide(2)
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built) // the system clears its folder for temporary files
	}
	os.Exit(code)
}
