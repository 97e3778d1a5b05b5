// Package journal keeps what must survive although the shared store is away and
// the process dies: revocations of sessions, and purges. It is a log on disk,
// whose records are durable when Append returns. Who tells the other gateways of them
// is left to internal/peers.
//
// A record is a statement about one thing, never an event: of two statements
// about it one stands, by a rule that does not depend on order (Record.Merge),
// so that the logs of several gateways are joined by giving each what the
// others hold, in any order and as often as one likes. What a record means is
// its writer's; the package looks into none.
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
	ErrFull   = errors.New("the journal is full")          // nothing of this Append was taken in
	ErrClosed = errors.New("the journal is closed")
)

// Config configures a Journal. Dir is required.
type Config struct {
	Dir        string // made if missing, readable by the owner alone
	MaxRecords int    // that live at once; 0: 262,144
	MaxBytes   int64  // that these take on disk; 0: 64 MiB. The file is at most about four times as long
	// Retry is how often the journal looks after itself: forgets what has
	// expired and, while degraded, tries the disk again. 0: 1 s
	Retry time.Duration

	// Late is given what was found in a log that could not be read by Open, but
	// is now: who acts on records was not given these. It is called on the
	// journal's goroutine and must not wait for the journal; nil: nobody is told.
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

// Journal is a durable set of records. One goroutine owns the disk, so that the
// callers that wait at the same time share one fsync; it ends with Close.
type Journal struct {
	cfg   Config
	queue chan *entry
	stop  chan struct{} // closed by Close
	done  chan struct{} // closed when the writer has ended
	end   sync.Once
	endOf error // of the writer; read after done

	// The writer's alone.
	log          logFile
	opened       bool      // Open has returned
	loaded       bool      // the log has been read and is ours
	peeked       bool      // it has been read, but is not ours
	compactAfter time.Time // compaction failed and is not tried before

	mu sync.RWMutex
	// mu guards what follows. The writer alone changes it, and holds mu for
	// that; nothing waits for the disk under it.
	live   live
	health health
}

// entry is one Append on its way.
type entry struct {
	records []Record
	done    chan struct{} // closed by the writer
	err     error         // read after done
}

// queueSize bounds the Appends that wait for the disk; more wait to wait.
const queueSize = 1024

// Open reads the journal of a folder, or begins one. A folder that another
// process holds is ErrLocked, a log of another version ErrFormat. A disk that
// cannot be read or written is no error: the Journal is Degraded, holds what
// could be read, and tries again by itself.
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

// Append takes records in and returns when they are on disk. ctx bounds the
// wait and nothing else: what was taken in stays, also when nobody waits.
//
// ErrInvalid and ErrFull mean that none of the records was taken in. After any
// other error the outcome is open: what was taken in stands in memory (Records
// gives it) and is written as soon as the disk allows, without another Append;
// to append the same again is harmless. A record that says no more than what
// stands already is no error and costs no write.
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
		return fmt.Errorf("append to journal: the disk is behind: %w", context.Cause(ctx))
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
		return ErrClosed // it came after the writer's last look
	}
}

// Records gives all records that stand, in no order, also those that the disk
// has not taken yet.
func (j *Journal) Records() []Record {
	now := j.cfg.Now()
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.live.all(now)
}

// News gives those of the records that say more than what stands here.
func (j *Journal) News(records []Record) []Record {
	var news []Record
	j.mu.RLock()
	defer j.mu.RUnlock()
	for _, r := range records {
		r, err := r.Normal()
		if err != nil {
			continue // Append says so
		}
		if old, ok := j.live.records[r.id()]; !ok || !old.Merge(r).equal(old) {
			news = append(news, r)
		}
	}
	return news
}

// Close writes what waits, ends the writer and lets go of the folder. Its error
// says that something could not be written. It may be called more than once.
func (j *Journal) Close() error {
	j.end.Do(func() { close(j.stop) })
	<-j.done
	return j.endOf
}
