package env

import (
	"context"
	"errors"
	"flag"
	"strconv"
	"sync/atomic"
	"time"
)

// Patience is how long tests wait for an event that is quick on an idle machine and may be late on a
// busy one.
const Patience = 20 * time.Second

// Eventually calls check until it returns nil. After limit the test ends with the last error.
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

// Until is Eventually for a condition, with Patience as its limit; what describes the condition.
func Until(t T, what string, ok func() bool) {
	t.Helper()
	Eventually(t, Patience, func() error {
		if !ok() {
			return errors.New("not yet: " + what)
		}
		return nil
	})
}

// Receive returns the next value of a channel. The test ends if none comes within Patience; what
// describes the value.
func Receive[V any](t T, what string, from <-chan V) (v V) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(Patience):
		t.Fatalf("not within %v: %s", Patience, what)
	}
	return v
}

// Run starts run in a goroutine. stop cancels its ctx and waits for it; the end of the test does too.
func Run(t T, run func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// Clock is a manual clock. Its zero value shows 2023-11-14 22:13:20 UTC.
type Clock struct{ offset atomic.Int64 }

// NewClock returns a clock that shows a time.
func NewClock(at time.Time) *Clock {
	c := &Clock{}
	c.Advance(at.Sub(c.Now()))
	return c
}

// Now returns its time, in UTC.
func (c *Clock) Now() time.Time {
	return time.UnixMilli(1_700_000_000_000).Add(time.Duration(c.offset.Load())).UTC()
}

// Advance moves it.
func (c *Clock) Advance(d time.Duration) { c.offset.Add(int64(d)) }

// SideBySide is for the TestMain of a package whose tests mostly wait: n parallel tests run at a time,
// unless -parallel is given.
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
