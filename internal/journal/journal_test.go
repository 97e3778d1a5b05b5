package journal

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jewgo/gateway/test/crashdisk"
	"github.com/jewgo/gateway/test/env"
)

func open(t testing.TB, cfg Config) *Journal {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = at(0)
	}
	if cfg.Retry == 0 {
		cfg.Retry = time.Hour // no test waits for it, unless it sets another
	}
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func appendAll(t testing.TB, j *Journal, records ...Record) {
	t.Helper()
	if err := j.Append(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
}

func wantKeys(t testing.TB, j *Journal, keys ...string) {
	t.Helper()
	got := keysOf(j.Records())
	ok := len(got) == len(keys)
	for _, k := range keys {
		ok = ok && got[k]
	}
	if !ok {
		t.Errorf("records %v, want %v", got, keys)
	}
}

func wantState(t testing.TB, j *Journal, want State, reason string) {
	t.Helper()
	if s := j.Status(); s.State != want || !strings.Contains(s.Reason, reason) {
		t.Errorf("state %v because of %q, want %v because of %q", s.State, s.Reason, want, reason)
	}
}

// within checks that each of these records, or a later version, is in those.
func within(these, those []Record) error {
	held := map[id]Record{}
	for _, r := range those {
		held[r.id()] = r
	}
	for _, r := range these {
		if h, ok := held[r.id()]; !ok || !h.Merge(r).equal(h) {
			return fmt.Errorf("%+v is missing: there is %+v", r, h)
		}
	}
	return nil
}

// joined merges all records, like a journal of them.
func joined(records []Record) []Record {
	l := newLive()
	for _, r := range records {
		l.merge(r, time.Time{})
	}
	return l.all(time.Time{})
}

func TestAppendSurvives(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Config{Dir: dir})
	appendAll(t, j, rec("a", 1), rec("b", 2))
	appendAll(t, j, rec("b", 1), rec("c", 1)) // b is older than the one kept
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, Config{Dir: dir})
	if err := within([]Record{rec("a", 1), rec("b", 2), rec("c", 1)}, j.Records()); err != nil {
		t.Error(err)
	}
	wantKeys(t, j, "a", "b", "c")
	if s := j.Status(); s.State != OK || s.Records != 3 || s.Pending != 0 || s.Damage != "" {
		t.Errorf("status %+v", s)
	}
}

func TestExpiredRecordsVanish(t *testing.T) {
	dir, c := t.TempDir(), env.NewClock(epoch)
	j := open(t, Config{Dir: dir, Now: c.Now, Retry: 10 * time.Millisecond})
	short := rec("short", 1)
	short.Expires = epoch.Add(time.Minute)
	over := rec("over", 1)
	over.Expires = epoch
	appendAll(t, j, short, rec("long", 1), over)
	wantKeys(t, j, "short", "long")
	c.Advance(time.Minute)
	wantKeys(t, j, "long")
	env.Until(t, "expired records are dropped", func() bool { return j.Status().Records == 1 })
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, open(t, Config{Dir: dir, Now: c.Now}), "long")
}

// TestAnOlderRecordDoesNotOutliveANewer checks this also across a restart after the newer one has
// expired.
func TestAnOlderRecordDoesNotOutliveANewer(t *testing.T) {
	older, newer := rec("a", 1), rec("a", 2)
	newer.Expires = epoch.Add(time.Minute)
	data, _ := logOf(older, newer)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, logName), data, 0o600); err != nil {
		t.Fatal(err)
	}
	j := open(t, Config{Dir: dir, Now: at(2 * time.Minute)})
	if got := j.Records(); len(got) != 1 || got[0].Version != 2 {
		t.Errorf("got %+v", got)
	}
}

// TestEveryCrash cuts the file at every byte and opens it: acknowledged records are there, others
// may be, and nothing else is.
func TestEveryCrash(t *testing.T) {
	for seed := range 8 {
		disk := crashdisk.New()
		cfg := Config{Dir: t.TempDir(), disk: disk}
		j := open(t, cfg)
		var all []Record
		acknowledged := map[int]int{} // length of the file → number of records
		for i := range 4 {
			batch := rapid.SliceOfN(recordGen(), 1, 3).Example(4*seed + i)
			appendAll(t, j, batch...)
			all = append(all, batch...)
			acknowledged[int(j.Status().FileBytes)] = len(all)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(cfg.Dir, logName)
		data, _ := disk.Data(name)
		safe := 0
		for n := range len(data) + 1 {
			safe = max(safe, acknowledged[n])
			cut := crashdisk.New()
			cut.Put(name, data[:n])
			cfg.disk = cut
			j := open(t, cfg)
			got := j.Records()
			if err := errors.Join(within(joined(all[:safe]), got), within(got, joined(all)), j.Append(t.Context(), rec("next", 1)), j.Close()); err != nil {
				t.Fatalf("cut at %d of %d: %v", n, len(data), err)
			}
			if s := j.Status(); n >= headSize && s.Damage != "" {
				t.Fatalf("cut at %d of %d: a crash is reported as damage: %s", n, len(data), s.Damage)
			}
		}
	}
}

// TestFaultsAndCrashes makes any operation of the disk fail, and crashes at any time, losing what
// was not synced. Compaction happens often.
func TestFaultsAndCrashes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		disk := crashdisk.New()
		cfg := Config{Dir: t.TempDir(), Now: at(0), Retry: time.Hour, disk: disk, compactAbove: 200}
		j, err := Open(cfg)
		if err != nil {
			rt.Fatal(err)
		}
		var all, acknowledged []Record
		next := uint64(10)
		reopen := func(after *crashdisk.Disk) {
			_ = j.Close() // of the dead process, which uses the old files
			disk, cfg.disk = after, after
			if j, err = Open(cfg); err != nil {
				rt.Fatal(err)
			}
			if s := j.Status(); s.Damage != "" {
				rt.Fatalf("a crash is reported as damage: %s", s.Damage)
			}
		}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"append", "append", "append", "again", "fault", "heal", "crash", "kill"}).Draw(rt, "step") {
			case "append":
				batch := rapid.SliceOfN(recordGen(), 1, 3).Draw(rt, "batch")
				batch[0].Version, next = next, next+1 // so that something must be written
				all = append(all, batch...)
				if err := j.Append(t.Context(), batch...); err == nil {
					acknowledged = append(acknowledged, batch...)
				} else if errors.Is(err, ErrFull) || errors.Is(err, ErrInvalid) {
					rt.Fatal(err)
				}
			case "fault":
				op := rapid.SampledFrom([]string{"open", "write", "sync", "truncate", "rename", "syncDir"}).Draw(rt, "op")
				fault := crashdisk.Times(syscall.ENOSPC, map[string]int{op: rapid.IntRange(1, 3).Draw(rt, "times")})
				disk.Fail(fault)
			case "heal":
				disk.Fail(nil)
			case "crash":
				reopen(disk.Crash(func() bool { return rapid.Bool().Draw(rt, "lost") }, func(n int) int { return rapid.IntRange(0, n).Draw(rt, "arrived") }))
			case "kill":
				reopen(disk.Restart())
			case "again":
				if j.Append(t.Context(), all...) == nil {
					acknowledged = slices.Clone(all)
				}
			}
			got := j.Records()
			if err := errors.Join(within(joined(acknowledged), got), within(got, joined(all))); err != nil {
				rt.Fatal(err)
			}
		}
		disk.Fail(nil)
		if err := errors.Join(j.Append(t.Context(), rec("last", next)), j.Close()); err != nil {
			rt.Fatalf("after the disk was repaired: %v", err)
		}
		if s := j.Status(); s.Pending != 0 || s.Damage != "" {
			rt.Fatalf("status %+v", s)
		}
	})
}

func TestDiskFaults(t *testing.T) {
	for _, c := range []struct {
		why   string
		fails map[string]int
		err   error
	}{
		{"a full disk", map[string]int{"write": 1}, syscall.ENOSPC},
		{"a full disk whose file cannot be truncated", map[string]int{"write": 1, "truncate": 1}, syscall.ENOSPC},
		{"an fsync that fails", map[string]int{"sync": 1}, syscall.EIO},
		{"a read-only file system", map[string]int{"write": 1, "truncate": 1, "open": 1}, syscall.EROFS},
	} {
		t.Run(c.why, func(t *testing.T) {
			disk, clk := crashdisk.New(), env.NewClock(epoch)
			cfg := Config{Dir: t.TempDir(), Now: clk.Now, disk: disk}
			j := open(t, cfg)
			appendAll(t, j, rec("before", 1))
			disk.Fail(crashdisk.Times(c.err, c.fails))
			clk.Advance(time.Second)
			if err := j.Append(t.Context(), rec("during", 1)); !errors.Is(err, c.err) {
				t.Fatalf("got %v, want %v", err, c.err)
			}
			wantState(t, j, Degraded, c.err.Error())
			if s := j.Status(); !s.Since.Equal(epoch.Add(time.Second)) || s.Pending != 1 {
				t.Errorf("status %+v", s)
			}
			wantKeys(t, j, "before", "during")
			for j.Append(t.Context(), rec("after", 1)) != nil { // until the faults are used up
				wantState(t, j, Degraded, c.err.Error())
			}
			wantState(t, j, OK, "")
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			cfg.disk = disk.Crash(func() bool { return true }, func(int) int { return 0 })
			wantKeys(t, open(t, cfg), "before", "during", "after")
		})
	}
}

func TestDegradedHealsByItself(t *testing.T) {
	disk := crashdisk.New()
	j := open(t, Config{Dir: t.TempDir(), disk: disk, Retry: 10 * time.Millisecond})
	disk.Fail(crashdisk.Times(syscall.ENOSPC, map[string]int{"write": 3}))
	if err := j.Append(t.Context(), rec("a", 1)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	env.Until(t, "the record is written without another Append", func() bool {
		s := j.Status()
		return s.State == OK && s.Pending == 0
	})
}

func TestDurableRecordsAreNoErrorWhileDegraded(t *testing.T) {
	disk := crashdisk.New()
	j := open(t, Config{Dir: t.TempDir(), disk: disk})
	appendAll(t, j, rec("a", 2))
	disk.Fail(crashdisk.Times(syscall.ENOSPC, map[string]int{"write": -1}))
	if err := j.Append(t.Context(), rec("b", 1)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := j.Append(t.Context(), rec("a", 1)); err != nil {
		t.Errorf("a record already on disk: %v", err)
	}
	if err := j.Close(); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "1 records") {
		t.Errorf("closing with a record only in memory: %v", err)
	}
}

func TestCompactionThatFails(t *testing.T) {
	disk, clk := crashdisk.New(), env.NewClock(epoch)
	cfg := Config{Dir: t.TempDir(), disk: disk, Now: clk.Now, compactAbove: 200}
	j := open(t, cfg)
	disk.Fail(crashdisk.Times(syscall.ENOSPC, map[string]int{"rename": 1}))
	for i := range 20 {
		appendAll(t, j, rec("a", uint64(i)))
	}
	env.Until(t, "the state is degraded", func() bool { return j.Status().State == Degraded })
	wantState(t, j, Degraded, "rewrite journal")
	long := j.Status().FileBytes
	clk.Advance(compactRetry)
	appendAll(t, j, rec("b", 1))
	env.Until(t, "it is compacted", func() bool { s := j.Status(); return s.State == OK && s.FileBytes < long })
}

func TestFull(t *testing.T) {
	for _, c := range []struct {
		why string
		cfg Config
	}{
		{"too many records", Config{MaxRecords: 2}},
		{"too many bytes", Config{MaxBytes: 2*frameSize(rec("a", 1)) + 1}},
	} {
		t.Run(c.why, func(t *testing.T) {
			clk := env.NewClock(epoch)
			c.cfg.Dir, c.cfg.Now = t.TempDir(), clk.Now
			j := open(t, c.cfg)
			soon := rec("a", 1)
			soon.Expires = epoch.Add(time.Minute)
			appendAll(t, j, soon)
			if err := j.Append(t.Context(), rec("b", 1), rec("c", 1)); !errors.Is(err, ErrFull) {
				t.Fatalf("got %v", err)
			}
			wantKeys(t, j, "a") // all or nothing
			wantState(t, j, Full, "full")
			appendAll(t, j, rec("b", 1))
			wantState(t, j, OK, "")
			appendAll(t, j, rec("b", 2)) // needs no more room
			if err := j.Append(t.Context(), rec("c", 1)); !errors.Is(err, ErrFull) {
				t.Fatalf("got %v", err)
			}
			clk.Advance(time.Minute)
			appendAll(t, j, rec("c", 1)) // replaces the expired one
			wantKeys(t, j, "b", "c")
			wantState(t, j, OK, "")
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			c.cfg.MaxRecords, c.cfg.MaxBytes = 1, 1
			j = open(t, c.cfg)
			wantKeys(t, j, "b", "c") // lower limits do not drop acknowledged records
		})
	}
}

func TestCompactionUnderAppends(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Config{Dir: dir, compactAbove: 4 << 10})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				if err := j.Append(t.Context(), rec(fmt.Sprint(g), uint64(i)), rec(fmt.Sprint(g, "/", i%5), uint64(i))); err != nil {
					t.Error(err)
				}
				j.Records()
				j.Status()
			}
		})
	}
	wg.Wait()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, logName))
	if err != nil || info.Size() > 16<<10 {
		t.Errorf("800 records of 48 keys take %d bytes, %v: not compacted", info.Size(), err)
	}
	j = open(t, Config{Dir: dir})
	for g := range 8 {
		if err := within([]Record{rec(fmt.Sprint(g), 49), rec(fmt.Sprint(g, "/", 4), 49)}, j.Records()); err != nil {
			t.Error(err)
		}
	}
}

func TestDamageIsTold(t *testing.T) {
	dir := t.TempDir()
	data, starts := logOf(rec("a", 1), rec("b", 1), rec("c", 1))
	data[starts[1]+frameHead+3] ^= 1
	if err := os.WriteFile(filepath.Join(dir, logName), data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, damage := range []string{"2 records were read", ""} {
		j := open(t, Config{Dir: dir})
		wantKeys(t, j, "a", "c")
		if s := j.Status(); !strings.HasSuffix(s.Damage, damage) || (damage == "") != (s.Damage == "") || s.State != OK {
			t.Errorf("status %+v, want damage %q", s, damage)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnotherFormatIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	data := append(append(bytes.Clone(magic), 0, format+1), "what a later version writes"...)
	name := filepath.Join(dir, logName)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrFormat) {
		t.Fatalf("got %v", err)
	}
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the file was changed: %v", err)
	}
}

func TestClosed(t *testing.T) {
	j := open(t, Config{Dir: t.TempDir()})
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(t.Context(), rec("a", 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestContextBoundsTheWait checks that taken records stay although the caller has gone.
func TestContextBoundsTheWait(t *testing.T) {
	disk, clk := crashdisk.New(), env.NewClock(epoch)
	cfg := Config{Dir: t.TempDir(), disk: disk, Now: clk.Now}
	j := open(t, cfg)
	hung, goOn := make(chan struct{}), make(chan struct{})
	first := true
	disk.Fail(func(op string) error {
		if op == "sync" && first {
			first = false
			close(hung)
			<-goOn
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	go func() { errs <- j.Append(ctx, rec("a", 1)) }()
	<-hung
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	clk.Advance(stuckAfter + time.Second)
	wantState(t, j, Degraded, "has not answered for 3s")
	wantKeys(t, j, "a")
	close(goOn)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, open(t, cfg), "a")
}

func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdDir+"="+dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "held <nil>\n" {
		t.Fatalf("the other process: %q, %v", line, err)
	}
	_, err = Open(Config{Dir: dir})
	if want := fmt.Sprint("process ", cmd.Process.Pid); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want one that names %s", err, want)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its error says that it was killed
	appendAll(t, open(t, Config{Dir: dir}), rec("a", 1))
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("the same process again: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	data, starts := logOf(rec("a", 1), rec("b", 1))
	f.Add(data)
	f.Add(data[:starts[1]+5])
	f.Add(append(data[:starts[1]:starts[1]], data[starts[1]+1:]...))
	f.Add([]byte(nil))
	f.Add(append(slices.Clone(magic), 'x')) // ends in the format's number
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		disk := crashdisk.New()
		disk.Put(filepath.Join(dir, logName), data)
		cfg := Config{Dir: dir, Now: at(0), Retry: time.Hour, disk: disk}
		j, err := Open(cfg)
		if errors.Is(err, ErrFormat) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = j.Close() }() // the next input needs its lock, also after a failure
		held := j.Records()
		if err := errors.Join(j.Append(t.Context(), rec("next", 1)), j.Close()); err != nil {
			t.Fatal(err)
		}
		cfg.disk = disk.Crash(func() bool { return true }, func(int) int { return 0 })
		if j, err = Open(cfg); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(within(append(held, joined([]Record{rec("next", 1)})...), j.Records()), j.Close()); err != nil {
			t.Fatal(err)
		}
		if s := j.Status(); s.Damage != "" || s.State != OK {
			t.Fatalf("opened a second time: %+v", s)
		}
	})
}

func BenchmarkAppend64(b *testing.B) {
	j, err := Open(Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	var n atomic.Uint64
	ends := time.Now().Add(time.Hour)
	b.SetParallelism(32) // per processor; the reference machine has two
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			v := n.Add(1)
			if err := j.Append(context.Background(), Record{Kind: "session", Key: fmt.Sprint(v % 10000), Version: v, Expires: ends}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func TestNews(t *testing.T) {
	j := open(t, Config{Dir: t.TempDir()})
	appendAll(t, j, rec("a", 5))
	later := rec("a", 5)
	later.Expires = later.Expires.Add(time.Minute)
	news := j.News([]Record{rec("a", 5), rec("a", 4), later, rec("a", 6), rec("b", 1), {Kind: "session"}})
	if want := []Record{later, rec("a", 6), rec("b", 1)}; len(news) != 3 || !news[0].equal(want[0]) || !news[1].equal(want[1]) || !news[2].equal(want[2]) {
		t.Errorf("news %v, want %v", news, want)
	}
}
