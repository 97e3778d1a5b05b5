package journal

import (
	"errors"
	"fmt"
	"time"
)

// run is the writer's loop.
func (j *Journal) run() {
	defer close(j.done)
	tick := time.NewTicker(j.cfg.Retry)
	defer tick.Stop()
	for {
		select {
		case e := <-j.queue:
			j.commit(j.gather(e))
		case <-tick.C:
			j.commit(nil)
		case <-j.stop:
			j.commit(j.gather())
			j.endOf = j.finish()
			return
		}
	}
}

// gather takes the queued entries; all of them share one fsync.
func (j *Journal) gather(batch ...*entry) []*entry {
	for len(batch) < queueSize {
		select {
		case e := <-j.queue:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

// commit takes the entries, brings the disk up to date, reports the results, and compacts.
func (j *Journal) commit(batch []*entry) {
	j.take(batch)
	err := j.flush()
	for _, e := range batch {
		if e.err == nil {
			e.err = j.outcome(e, err)
		}
		close(e.done)
	}
	j.tidy()
}

// take adds the records of the entries that fit.
func (j *Journal) take(batch []*entry) {
	now := j.cfg.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.live.sweep(now) {
		j.health.refused = false
	}
	for _, e := range batch {
		before := len(j.live.records)
		switch {
		case !j.live.admit(e.records, j.cfg, now):
			j.health.refused = true
			e.err = fmt.Errorf("append to journal: %w: %d records of %d, %d bytes of %d",
				ErrFull, len(j.live.records), j.cfg.MaxRecords, j.live.bytes, j.cfg.MaxBytes)
		case len(j.live.records) > before:
			j.health.refused = false
		}
	}
}

// outcome is the result for an entry's caller after a flush.
func (j *Journal) outcome(e *entry, flushed error) error {
	if flushed == nil {
		return nil
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.loaded && j.live.writtenAll(e.records) {
		return nil // it was already on disk
	}
	return flushed
}

// flush writes what is only in memory to disk.
func (j *Journal) flush() error {
	j.busy(j.cfg.Now())
	err := j.write()
	j.busy(time.Time{})
	j.settle(func(h *health) { h.disk = err })
	return err
}

func (j *Journal) write() error {
	if !j.loaded {
		if err := j.load(); err != nil {
			return err
		}
	}
	// A file that could not be compacted for a long time must not grow forever.
	if j.log.broken || j.log.size > 3*j.cfg.MaxBytes+j.cfg.compactAbove {
		return j.rewrite()
	}
	j.mu.RLock()
	records := j.live.waiting()
	j.mu.RUnlock()
	if len(records) == 0 {
		return nil
	}
	if err := j.log.append(records); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.live.written(records)
	return nil
}

// load reads the log. Its records count even if the log cannot be written.
func (j *Journal) load() error {
	if j.peeked { // the log was read without the lock, so get the lock first
		if err := j.log.acquire(); err != nil {
			return err
		}
	}
	now := j.cfg.Now()
	c, err := j.log.load()
	j.mu.Lock()
	j.live.found(c.records, now)
	if c.damaged > 0 {
		j.health.damage = fmt.Sprintf("%d bytes were damaged and are lost, %d records were read", c.damaged, len(c.records))
	}
	j.mu.Unlock()
	if c.damaged > 0 {
		j.cfg.Log.Error("journal was damaged", "dir", j.cfg.Dir, "damage", j.health.damage) // only this goroutine changes it
	}
	if c.torn > 0 && err == nil {
		j.cfg.Log.Info("journal ended in an unfinished write, which was dropped", "dir", j.cfg.Dir, "bytes", c.torn)
	}
	j.loaded, j.peeked = err == nil, len(c.records) > 0
	if j.opened && j.peeked && j.cfg.Late != nil {
		j.cfg.Late(c.records)
	}
	return err
}

// rewrite writes a new file with the records in force.
func (j *Journal) rewrite() error {
	now := j.cfg.Now()
	j.mu.RLock()
	records := j.live.all(now)
	j.mu.RUnlock()
	if err := j.log.rewrite(records); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.live.written(records)
	j.health.compaction = nil
	return nil
}

// compactRetry is the wait after a failed compaction, since each attempt writes everything.
const compactRetry = 10 * time.Second

// tidy compacts the file if more than half of it is garbage.
func (j *Journal) tidy() {
	now := j.cfg.Now()
	j.mu.RLock()
	garbage := j.log.size - headSize - j.live.bytes
	due := j.health.compaction != nil || j.log.size > j.cfg.compactAbove && garbage > j.log.size/2
	j.mu.RUnlock()
	if !due || !j.loaded || j.log.broken || now.Before(j.compactAfter) {
		return
	}
	j.busy(now)
	err := j.rewrite()
	j.busy(time.Time{})
	if err != nil {
		j.compactAfter = now.Add(compactRetry)
	}
	j.settle(func(h *health) { h.compaction = err })
}

// finish closes the log and returns an error if something could not be written.
func (j *Journal) finish() error {
	j.mu.RLock()
	lost := len(j.live.unwritten)
	reason := j.health.disk
	j.mu.RUnlock()
	err := j.log.close()
	if lost > 0 && reason != nil { // without a reason they have merely expired
		err = errors.Join(fmt.Errorf("close journal: %d records are not on disk: %w", lost, reason), err)
	}
	return err
}
