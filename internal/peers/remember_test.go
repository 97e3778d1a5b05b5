package peers

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jewgo/gateway/internal/journal"
	"github.com/jewgo/gateway/test/env"
)

// A peer is saved to disk at once: virtual time does not pass while a goroutine can run.
func TestAPeerIsRememberedAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peers.json")
	synctest.Test(t, func(t *testing.T) {
		p, err := New(Config{
			Keys: [][]byte{fleetKey}, Self: func() Peer { return Peer{ID: "a", Address: "10.0.0.1:1"} }, File: file,
			Snapshot: func() []journal.Record { return nil }, wrap: refuse,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Close() }()
		begin := time.Now()
		for i, address := range []string{"10.0.0.2:1", "10.0.0.3:1"} {
			p.Learn([]Peer{{ID: address, Address: address}})
			synctest.Wait()
			if known, err := readPeers(file); err != nil || len(known) != i+1 {
				t.Errorf("after %v the file holds %v, %v", time.Since(begin), known, err)
			}
		}
	})
}

// lockedBuffer can be read during writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A file that cannot be written is reported once, and written as soon as possible.
func TestPeersAreRememberedOnceTheDiskAllows(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	file := filepath.Join(dir, "peers.json")
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		p, err := New(Config{
			Keys: [][]byte{fleetKey}, Self: func() Peer { return Peer{ID: "a", Address: "10.0.0.1:1"} }, File: file,
			Snapshot: func() []journal.Record { return nil }, wrap: refuse, Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Close() }()
		p.Learn([]Peer{{ID: "b", Address: "10.0.0.2:1"}})
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := strings.Count(log.String(), "cannot save the peers file"); n != 1 {
			t.Errorf("reported %d times, want once:\n%s", n, log.String())
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if known, err := readPeers(file); err != nil || len(known) != 1 {
			t.Errorf("the file holds %v, %v", known, err)
		}
	})
}

// A peer that accepts connections but never answers delays neither Send nor Close.
func TestAPeerThatHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // only the kernel accepts
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	before := runtime.NumGoroutine()
	p, err := New(Config{
		Keys: [][]byte{fleetKey}, Self: func() Peer { return Peer{ID: "a", Address: "10.0.0.1:1"} },
		Snapshot: func() []journal.Record { return nil }, PeerTimeout: time.Hour, Now: at(0),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Learn([]Peer{{ID: "b", Address: l.Addr().String()}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if reached, failed := p.Send(ctx, []journal.Record{rec("x", 1)}); len(reached) != 0 || len(failed) != 1 {
		t.Errorf("reached %v, failed %v", reached, failed)
	}
	pulled := make(chan struct{})
	go func() { defer close(pulled); p.Pull(ctx) }()
	if err := p.Close(); err != nil { // it must not wait for the hour
		t.Fatal(err)
	}
	<-pulled
	env.Until(t, "its goroutines have ended", func() bool { return runtime.NumGoroutine() <= before })
}

// A peer that answers greetings but takes no records is retried less and less.
func TestAPeerThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		p, err := New(Config{
			Keys: [][]byte{fleetKey}, Self: func() Peer { return Peer{ID: "a", Address: "10.0.0.1:1"} },
			Snapshot: func() []journal.Record { return []journal.Record{rec("x", 1)} }, PullEvery: time.Hour, Now: time.Now,
			wrap: func(http.RoundTripper) http.RoundTripper {
				return roundTripper(func(r *http.Request) (*http.Response, error) {
					if r.Method == http.MethodGet {
						return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`{"id":"b","address":"10.0.0.2:1"}`))}, nil
					}
					tries.Add(1)
					return &http.Response{StatusCode: http.StatusServiceUnavailable, Body: http.NoBody}, nil
				})
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		p.Learn([]Peer{{ID: "b", Address: "10.0.0.2:1"}})
		time.Sleep(time.Minute)
		if n := tries.Load(); n < 20 || n > 45 { // in the end one in 1.5 to 2.5 s
			t.Errorf("%d tries in a minute", n)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// The records kept for a peer are bounded, however many it missed.
func TestMissedIsBounded(t *testing.T) {
	o := &outbox{}
	o.miss(make([]journal.Record, maxMissed))
	if o.all || len(o.missed) != maxMissed {
		t.Errorf("%d kept, all %v", len(o.missed), o.all)
	}
	o.miss(make([]journal.Record, 1))
	o.miss(make([]journal.Record, 1))
	if !o.all || len(o.missed) != 1 {
		t.Errorf("%d kept besides all, %v", len(o.missed), o.all)
	}
	if o.miss(make([]journal.Record, 100*maxMissed)); cap(o.missed) > maxMissed {
		t.Errorf("room for %d", cap(o.missed))
	}
}

// If sending everything fails, everything is sent again, together with a record that is in no
// snapshot because the journal was full.
func TestEverythingIsTriedAgain(t *testing.T) {
	net := newNetwork(t)
	a, b := net.node(t, "a"), net.node(t, "b")
	b.fault = journal.ErrFull // not called yet
	appendAll(t, a.j, rec("before", 1))
	a.Learn([]Peer{b.self})
	env.Until(t, "a push failed and will be retried", func() bool {
		s := a.statusOf(b)
		return s.Behind && strings.Contains(s.Error, "full")
	})
	a.outboxes()[0].miss([]journal.Record{rec("nowhere else", 1)}) // as after a failed Send
	b.mu.Lock()
	b.fault = nil
	b.mu.Unlock()
	env.Until(t, "b has all records", b.has("before", "nowhere else"))
}

// Records that a peer misses while the snapshot is taken are sent too.
func TestMissedWhileEverythingIsCollected(t *testing.T) {
	net := newNetwork(t)
	var a *node
	var once sync.Once
	a = net.node(t, "a", func(c *Config) {
		c.Snapshot = func() []journal.Record {
			records := a.j.Records()
			once.Do(func() {
				appendAll(t, a.j, rec("meanwhile", 1))
				for _, o := range a.outboxes() {
					o.miss([]journal.Record{rec("meanwhile", 1)}) // as after a failed Send
				}
			})
			return records
		}
	})
	b := net.node(t, "b")
	appendAll(t, a.j, rec("before", 1))
	a.Learn([]Peer{b.self})
	env.Until(t, "b has all records", b.has("before", "meanwhile"))
}
