package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/journal"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/middleware/session"
)

const (
	// keepWait bounds how long a request waits for the disk. Records that are not on it
	// by then are written later, unless the process dies first.
	keepWait = time.Second
	// stuckWait is how long a request waits for a disk that is known to fail or hang.
	stuckWait = 50 * time.Millisecond
	// closeWait bounds how long the end of the process waits for the disk.
	closeWait = 5 * time.Second
	// settleWait bounds the wait for records that need not be durable at once.
	settleWait = 10 * time.Millisecond
)

// The bounds of the journal: as many revocations as memory holds, since a durable one
// must not be forgotten before it expires, and purges. Each gateway replays all of its
// own before it uses Redis again; that many take about 11 s.
const (
	maxRecords      = memory.MaxRevocations + 1<<17
	maxJournalBytes = 256 << 20
)

// kindSession is the kind of records of revocations. The key is the revocation's
// subject, the version its time of issue in microseconds, and the record expires with
// the revocation, so that merging two records keeps the later of both times.
const kindSession = "session"

// kindPurge is the kind of records of purges. The key is the slot and the origin of the
// purge, the version its generation there. Of two values the greater stands, which says
// that Redis knows the purge.
const (
	kindPurge   = "purge"
	purgeMissed = "0"
	purgeKnown  = "1"
)

// durable is what this gateway remembers without Redis and across restarts.
type durable struct {
	journal *journal.Journal
	fleet   *fleet // tells the other gateways
	log     *slog.Logger

	mu   sync.Mutex
	late []func([]journal.Record) // act on records; guarded by mu
}

// openDurable opens the journal in data_dir, which no other process may have open.
func openDurable(dir string, numbers *metrics.Metrics, log *slog.Logger) (*durable, error) {
	d := &durable{fleet: &fleet{}, log: log}
	j, err := journal.Open(journal.Config{Dir: filepath.Clean(dir), MaxRecords: maxRecords, MaxBytes: maxJournalBytes, Late: d.found, Log: log})
	if err != nil {
		return nil, err
	}
	d.journal = j
	gauge := func(name, help string, f func(journal.Status) float64) {
		numbers.Gauge(name, help, func() float64 { return f(j.Status()) })
	}
	gauge("gateway_journal_records", "Records in the journal.", func(s journal.Status) float64 { return float64(s.Records) })
	gauge("gateway_journal_bytes", "Size of the journal's file.", func(s journal.Status) float64 { return float64(s.FileBytes) })
	gauge("gateway_journal_pending", "Records that are only in memory, and requests that wait for the journal.", func(s journal.Status) float64 { return float64(s.Pending) })
	return d, nil
}

// restore calls act with the records of the journal, and later with those that a disk
// which could not be read at first gives.
func (d *durable) restore(act func([]journal.Record)) {
	d.mu.Lock()
	d.late = append(d.late, act)
	d.mu.Unlock()
	act(d.journal.Records())
}

func (d *durable) found(records []journal.Record) {
	d.mu.Lock()
	acts := slices.Clone(d.late)
	d.mu.Unlock()
	for _, act := range acts {
		act(records)
	}
}

// condition is the state of the journal, for /readyz.
func (d *durable) condition() admin.Condition {
	s := d.journal.Status()
	c := admin.Condition{Name: "journal", Detail: s.State.String()}
	if s.State != journal.OK {
		c.Level = admin.Degraded
		c.Detail += " since " + s.Since.UTC().Format(time.RFC3339) + ", a restart may forget logouts: " + s.Reason
	}
	if s.Damage != "" {
		c.Warnings = append(c.Warnings, s.Damage)
	}
	return c
}

// keep makes records durable, here and at the peers.
func (d *durable) keep(ctx context.Context, records []journal.Record) error {
	err := d.append(ctx, keepWait, records)
	d.fleet.tell(ctx, records)
	return err
}

// append makes records durable here, also those of a client that has left. It waits at
// most wait for the disk.
func (d *durable) append(ctx context.Context, wait time.Duration, records []journal.Record) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience(d.journal.Status().State, wait))
	defer cancel()
	return d.journal.Append(ctx, records...)
}

// patience shortens wait while the disk is known to fail.
func patience(s journal.State, wait time.Duration) time.Duration {
	if s == journal.Degraded {
		return min(wait, stuckWait)
	}
	return wait
}

// close closes the peers, then the journal, and so lets go of data_dir. A disk that
// hangs cannot keep the process.
func (d *durable) close() {
	ended := make(chan error, 1)
	go func() { // ends with the disk's answer, or the process
		_ = d.fleet.Close() // what it could not write down it learns again
		ended <- d.journal.Close()
	}()
	select {
	case err := <-ended:
		if err != nil {
			d.log.Error("the journal is not complete", "error", err.Error())
		}
	case <-time.After(closeWait):
		d.log.Error("the disk of data_dir does not answer, leaving it")
	}
}

// purgesOf returns the purges among records.
func purgesOf(records []journal.Record) (all []cache.Purge) {
	for _, r := range records {
		key, origin, _ := strings.Cut(r.Key, " ")
		if slot, err := strconv.ParseUint(key, 10, 16); r.Kind == kindPurge && err == nil {
			all = append(all, cache.Purge{
				Mark:   cache.Mark{Slot: uint16(slot), Gen: r.Version},
				Origin: origin, Known: string(r.Value) == purgeKnown,
			})
		}
	}
	return all
}

// revocationsOf returns the revocations among records.
func revocationsOf(records []journal.Record) (all []session.Revocation) {
	for _, r := range records {
		if r.Kind == kindSession {
			all = append(all, sessionRevocation(r))
		}
	}
	return all
}

// durableSessions is the journal as the sessions see it.
type durableSessions struct{ *durable }

var _ session.Journal = durableSessions{}

// Keep implements session.Journal.
func (d durableSessions) Keep(ctx context.Context, revocations []session.Revocation, known bool) error {
	wait := keepWait
	if known {
		wait = settleWait
	}
	return d.append(ctx, wait, sessionRecords(revocations))
}

// Tell implements session.Journal.
func (d durableSessions) Tell(ctx context.Context, revocations []session.Revocation) {
	d.fleet.tell(ctx, sessionRecords(revocations))
}

func sessionRecords(revocations []session.Revocation) []journal.Record {
	records := make([]journal.Record, len(revocations))
	for i, r := range revocations {
		records[i] = sessionRecord(r)
	}
	return records
}

func sessionRecord(r session.Revocation) journal.Record {
	return journal.Record{Kind: kindSession, Key: r.Subject, Version: uint64(max(0, r.Issued.UnixMicro())), Expires: r.Until}
}

func sessionRevocation(r journal.Record) session.Revocation {
	return session.Revocation{Subject: r.Key, Issued: time.UnixMicro(int64(r.Version)), Until: r.Expires}
}

// durableTags is the journal as the cache's tags see it.
type durableTags struct{ *durable }

var _ cache.Journal = durableTags{}

// Keep implements cache.Journal.
func (d durableTags) Keep(ctx context.Context, purges []cache.Purge) error {
	expires := time.Now().Add(cache.CountersTTL)
	records, known := make([]journal.Record, len(purges)), true
	for i, p := range purges {
		records[i] = journal.Record{
			Kind: kindPurge, Key: strings.TrimSpace(strconv.Itoa(int(p.Slot)) + " " + p.Origin),
			Value: []byte(purgeMissed), Version: p.Gen, Expires: expires,
		}
		if p.Known {
			records[i].Value = []byte(purgeKnown)
		}
		known = known && p.Known
	}
	if known {
		return d.append(ctx, settleWait, records)
	}
	return d.keep(ctx, records)
}
