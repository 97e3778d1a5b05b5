// Package journal keeps records that must survive even if the shared store is unavailable and the
// process dies: revocations of sessions, and purges. It is a log on disk; a record is durable when
// Append returns. internal/peers sends records to the other gateways.
//
// A record is a statement about one thing, never an event. Of two statements about the same thing
// one is kept, by a rule that does not depend on their order (Record.Merge). So gateways can merge
// their logs by exchanging records in any order, any number of times. Only its writer interprets a
// record; this package does not.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/atomicfile"
)

// Errors of Open and Append. Any other error of Append is the disk's.
var (
	ErrLocked = errors.New("the journal's folder is held") // by another process
	ErrFull   = errors.New("the journal is full")          // no record of this Append was taken
	ErrClosed = errors.New("the journal is closed")
)

// Config configures a Journal. Dir is required.
type Config struct {
	Dir        string // created if missing, readable by the owner only
	MaxRecords int    // at once; 0: 262,144
	MaxBytes   int64  // of these records on disk; 0: 64 MiB. The file is at most about four times as long
	// Retry is how often the journal drops expired records and, while degraded, tries the disk
	// again. 0: 1 s
	Retry time.Duration

	// Late receives the records of a log that Open could not read, once it can be read: they were
	// missing from the first Records. It is called on the journal's goroutine and must not wait for
	// the journal; nil: it is not called.
	Late func([]Record)

	Now func() time.Time
	Log *slog.Logger // nil: nothing is logged

	disk         atomicfile.Disk // nil: the operating system's
	compactAbove int64           // bytes of a file that is never compacted; 0: 1 MiB
}

func (c Config) withDefaults() Config {
	if c.MaxRecords == 0 {
		c.MaxRecords = 1 << 18
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 64 << 20
	}
	if c.Retry == 0 {
		c.Retry = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.disk == nil {
		c.disk = atomicfile.OS{}
	}
	if c.compactAbove == 0 {
		c.compactAbove = 1 << 20
	}
	return c
}

// Journal is a durable set of records. One goroutine owns the disk, so that callers waiting at the
// same time share one fsync; Close ends it.
type Journal struct {
	cfg   Config
	queue chan *entry
	stop  chan struct{} // closed by Close
	done  chan struct{} // closed when the writer has exited
	end   sync.Once
	endOf error // the writer's last error; read after done

	// Used by the writer only.
	log          logFile
	opened       bool      // Open has returned
	loaded       bool      // the log has been read under the lock
	peeked       bool      // the log has been read without the lock
	compactAfter time.Time // no compaction before this time, after a failed one

	mu sync.RWMutex
	// mu guards the following fields. Only the writer changes them, while holding mu; nothing
	// waits for the disk under mu.
	live   live
	health health
}

// entry is an Append in progress.
type entry struct {
	records []Record
	done    chan struct{} // closed by the writer
	err     error         // read after done
}

// queueSize bounds the Appends queued for the writer; further ones wait for room.
const queueSize = 1024

// Open reads the journal in a folder, or creates one. It returns ErrLocked if another process holds
// the folder, and ErrFormat for a log of another version. A disk that cannot be read or written is
// not an error: the Journal is then Degraded, holds what it could read, and retries by itself.
func Open(cfg Config) (*Journal, error) {
	cfg = cfg.withDefaults()
	j := &Journal{
		cfg:   cfg,
		queue: make(chan *entry, queueSize),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
		log:   logFile{disk: cfg.disk, dir: cfg.Dir},
		live:  newLive(),
	}
	j.health.since = cfg.Now()
	err := j.flush()
	if errors.Is(err, ErrLocked) || errors.Is(err, ErrFormat) {
		return nil, errors.Join(fmt.Errorf("journal in %s: %w", cfg.Dir, err), j.log.close())
	}
	j.opened = true
	go j.run()
	return j, nil
}

// Append adds records and returns when they are on disk. ctx bounds only the wait: records that
// were taken stay, even if the caller has gone.
//
// After ErrInvalid or ErrFull none of the records was taken. After any other error the outcome is
// open: records that were taken are in memory (see Records) and are written as soon as the disk
// allows, without another Append. Appending them again is harmless. A record that adds nothing new
// is not an error and costs no write.
func (j *Journal) Append(ctx context.Context, records ...Record) error {
	e := &entry{records: make([]Record, len(records)), done: make(chan struct{})}
	for i, r := range records {
		var err error
		if e.records[i], err = r.Normal(); err != nil {
			return fmt.Errorf("append %s: %w", r.Kind, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("append to journal: %w", err)
	}
	select {
	case j.queue <- e:
	case <-ctx.Done():
		return fmt.Errorf("append to journal: the disk is too slow: %w", context.Cause(ctx))
	case <-j.done:
		return ErrClosed
	}
	select {
	case <-e.done:
		return e.err
	case <-ctx.Done():
		return fmt.Errorf("append to journal: not yet on disk: %w", context.Cause(ctx))
	case <-j.done:
	}
	select {
	case <-e.done:
		return e.err
	default:
		return ErrClosed // it was queued after the writer's last check
	}
}

// Records returns all records in force, in any order, including those not yet on disk.
func (j *Journal) Records() []Record {
	now := j.cfg.Now()
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.live.all(now)
}

// News returns the given records that add something new.
func (j *Journal) News(records []Record) []Record {
	var news []Record
	j.mu.RLock()
	defer j.mu.RUnlock()
	for _, r := range records {
		r, err := r.Normal()
		if err != nil {
			continue // Append reports it
		}
		if old, ok := j.live.records[r.id()]; !ok || !old.Merge(r).equal(old) {
			news = append(news, r)
		}
	}
	return news
}

// Close writes what is queued, ends the writer and releases the folder. It returns an error if
// something could not be written. It may be called more than once.
func (j *Journal) Close() error {
	j.end.Do(func() { close(j.stop) })
	<-j.done
	return j.endOf
}
