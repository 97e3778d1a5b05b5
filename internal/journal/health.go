package journal

import (
	"fmt"
	"time"
)

// State is the state of a Journal.
type State int

// The states. A journal that is Degraded and Full is Degraded.
const (
	OK       State = iota
	Degraded       // the disk does not take records: they stand in memory, and Append returns an error
	Full           // more records, or bytes, than the limits were refused
)

// String gives the state's name in logs and metrics.
func (s State) String() string { return [...]string{"ok", "degraded", "full"}[s] }

// MarshalText gives its name in JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Status is a Journal's state for people.
type Status struct {
	State     State     `json:"state"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason,omitempty"` // why it is not OK
	Records   int       `json:"records"`          // that stand
	Bytes     int64     `json:"-"`                // that they take on disk
	FileBytes int64     `json:"file_bytes"`       // with what is written over or expired
	Pending   int       `json:"pending"`          // records in memory alone, and Appends that wait
	Damage    string    `json:"damage,omitempty"` // what was found damaged when the log was read; stays until the process ends
}

// stuckAfter is how long the disk may take for a write before the journal is
// Degraded.
const stuckAfter = 2 * time.Second

// health is what a Status is made of.
type health struct {
	state      State
	since      time.Time
	disk       error     // of the last attempt to write
	compaction error     // of the last one, until one succeeds
	refused    bool      // the last record that would have been added did not fit
	busySince  time.Time // a write is under way; zero: none is
	fileBytes  int64
	damage     string
}

// judge gives the state and its reason.
func (h health) judge() (State, string) {
	switch {
	case h.disk != nil:
		return Degraded, h.disk.Error()
	case h.compaction != nil:
		return Degraded, h.compaction.Error()
	case h.refused:
		return Full, ErrFull.Error()
	}
	return OK, ""
}

// busy notes when a write began, or with a zero time that it has ended.
func (j *Journal) busy(since time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.health.busySince = since
}

// settle notes how a write went and logs what that changed.
func (j *Journal) settle(note func(*health)) {
	now := j.cfg.Now()
	j.mu.Lock()
	note(&j.health)
	j.health.fileBytes = j.log.size
	before := j.health.state
	state, reason := j.health.judge()
	if state != before {
		j.health.state, j.health.since = state, now
	}
	j.mu.Unlock()
	switch state {
	case before:
	case OK:
		j.cfg.Log.Info("journal works", "dir", j.cfg.Dir, "before", before.String())
	default:
		j.cfg.Log.Error("journal does not work", "dir", j.cfg.Dir, "state", state.String(), "reason", reason)
	}
}

// Status tells how the journal does. It never waits for the disk.
func (j *Journal) Status() Status {
	now := j.cfg.Now()
	j.mu.RLock()
	defer j.mu.RUnlock()
	s := Status{
		State: j.health.state, Since: j.health.since,
		Records: len(j.live.records), Bytes: j.live.bytes, FileBytes: j.health.fileBytes,
		Pending: len(j.live.unwritten) + len(j.queue), Damage: j.health.damage,
	}
	_, s.Reason = j.health.judge()
	if b := j.health.busySince; s.State == OK && !b.IsZero() && now.Sub(b) > stuckAfter {
		s.State, s.Since = Degraded, b
		s.Reason = fmt.Sprintf("the disk has not answered for %v", now.Sub(b).Round(time.Second))
	}
	return s
}
