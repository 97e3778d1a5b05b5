package env

import (
	"context"
	"errors"
	"flag"
	"strconv"
	"sync/atomic"
	"time"
)

// Patience is how long tests wait for what comes in a moment on an idle machine,
// and late on a busy one.
const Patience = 20 * time.Second

// Eventually asks again and again until check returns nil. The test ends with its
// last error when the limit is over.
func Eventually(t T, limit time.Duration, check func() error) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Since(start) > limit {
			t.Fatalf("after %v: %v", limit, err)
		}
	}
}

// Until is Eventually for a condition, which what describes, with Patience as its limit.
func Until(t T, what string, ok func() bool) {
	t.Helper()
	Eventually(t, Patience, func() error {
		if !ok() {
			return errors.New("not yet: " + what)
		}
		return nil
	})
}

// Receive is the next value of a channel, which what describes. The test ends when
// none comes in Patience.
func Receive[V any](t T, what string, from <-chan V) (v V) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(Patience):
		t.Fatalf("not in %v: %s", Patience, what)
	}
	return v
}

// Run begins run. It ends, and is waited for, when stop is called and when the test ends.
func Run(t T, run func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// Clock is a time that tests move. Its zero value stands at 2023-11-14 22:13:20 UTC.
type Clock struct{ offset atomic.Int64 }

// NewClock is a clock that stands at a time.
func NewClock(at time.Time) *Clock {
	c := &Clock{}
	c.Advance(at.Sub(c.Now()))
	return c
}

// Now is the time that it stands at, in UTC.
func (c *Clock) Now() time.Time {
	return time.UnixMilli(1_700_000_000_000).Add(time.Duration(c.offset.Load())).UTC()
}

// Advance moves it.
func (c *Clock) Advance(d time.Duration) { c.offset.Add(int64(d)) }

// SideBySide is for the TestMain of a package whose tests mostly wait: n of the
// parallel ones run at a time, unless -parallel says how many.
func SideBySide(n int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return
	}
	if err := flag.Set("test.parallel", strconv.Itoa(n)); err != nil {
		panic(err)
	}
}
