package journal

import (
	"fmt"
	"time"
)

// State is the state of a Journal.
type State int

// The states. A journal that is both Degraded and Full reports Degraded.
const (
	OK       State = iota
	Degraded       // the disk fails: records are kept in memory, and Append returns an error
	Full           // the last new record was refused, since the journal is at its limits
)

// String gives the state's name in logs and metrics.
func (s State) String() string { return [...]string{"ok", "degraded", "full"}[s] }

// MarshalText gives the state's name in JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Status is a Journal's state, for display.
type Status struct {
	State     State     `json:"state"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason,omitempty"` // why it is not OK
	Records   int       `json:"records"`          // in force
	Bytes     int64     `json:"-"`                // of these records on disk
	FileBytes int64     `json:"file_bytes"`       // including replaced and expired records
	Pending   int       `json:"pending"`          // records only in memory, and waiting Appends
	Damage    string    `json:"damage,omitempty"` // damage found when the log was read; kept until the process ends
}

// stuckAfter is how long a write may take before the journal counts as Degraded.
const stuckAfter = 2 * time.Second

// health is the source of a Status.
type health struct {
	state      State
	since      time.Time
	disk       error     // of the last attempt to write
	compaction error     // of the last compaction; nil once one succeeds
	refused    bool      // the last new record did not fit
	busySince  time.Time // start of the current write; zero: none
	fileBytes  int64
	damage     string
}

// judge returns the state and its reason.
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

// busy records the start of a write; a zero time records its end.
func (j *Journal) busy(since time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.health.busySince = since
}

// settle records the result of a write and logs a change of state.
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
		j.cfg.Log.Info("journal works again", "dir", j.cfg.Dir, "before", before.String())
	default:
		j.cfg.Log.Error("journal does not work", "dir", j.cfg.Dir, "state", state.String(), "reason", reason)
	}
}

// Status returns the journal's state. It never waits for the disk.
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
