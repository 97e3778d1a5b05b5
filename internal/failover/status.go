package failover

import (
	"encoding/json"
	"sync/atomic"
	"time"
)

// historySize is how many changes of state Status shows.
const historySize = 50

// Change is one change of state.
type Change struct {
	At         time.Time `json:"at"`
	From       State     `json:"from"`
	To         State     `json:"to"`
	Generation uint64    `json:"generation"` // counts the changes
	// Reason is the cause of a change to Down. On a change to Rejoining it wraps ErrLost if the
	// store had lost data; otherwise it is nil.
	Reason error `json:"-"` // in JSON its text, as "reason"
}

// MarshalJSON writes the reason as text.
func (c Change) MarshalJSON() ([]byte, error) {
	type plain Change
	return json.Marshal(struct {
		plain
		Reason string `json:"reason,omitempty"`
	}{plain(c), text(c.Reason)})
}

// Status is a Switch's state, for display.
type Status struct {
	State      State     `json:"state"`
	Generation uint64    `json:"generation"`
	Since      time.Time `json:"since"`
	Reason     error     `json:"-"` // of the last fault or loss, as text in JSON; nil if there was none
	Epoch      Epoch     `json:"epoch"`
	Counts     Counts    `json:"counts"`
	TimeIn     Times     `json:"seconds_in"`
	History    []Change  `json:"history"` // the last changes, oldest first
	Backlogs   []Waiting `json:"backlogs"`
}

// Waiting is how many items of a Backlog the store has not been told.
type Waiting struct {
	Name  string `json:"name"`
	Items int    `json:"items"`
}

// MarshalJSON writes the reason as text.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status
	return json.Marshal(struct {
		plain
		Reason string `json:"reason,omitempty"`
	}{plain(s), text(s.Reason)})
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Times is the time spent in each State.
type Times [Up + 1]time.Duration

// MarshalJSON writes seconds, keyed by the state's name.
func (t Times) MarshalJSON() ([]byte, error) {
	seconds := map[State]float64{}
	for state, d := range t {
		seconds[State(state)] = d.Seconds()
	}
	return json.Marshal(seconds)
}

// Counts are totals since the Switch was made.
type Counts struct {
	Trips         uint64 `json:"trips"`          // Up → Down
	Rejoins       uint64 `json:"rejoins"`        // Rejoining → Up
	FailedRejoins uint64 `json:"failed_rejoins"` // Rejoining → Down
	Losses        uint64 `json:"losses"`         // rejoins of a store that had lost data
	ProbeErrors   uint64 `json:"probe_errors"`   // probes that failed or came too late

	// Requests by the Kind of their error; each was answered locally.
	Rejections uint64 `json:"rejections"`
	Timeouts   uint64 `json:"timeouts"`
	Faults     uint64 `json:"faults"`
	Late       uint64 `json:"late"`    // answers dropped because the switch had tripped meanwhile
	Crowded    uint64 `json:"crowded"` // calls that got no turn within their budget
}

// tally counts the outcomes of requests without a lock; answers are not counted.
type tally struct {
	kinds   [Fault + 1]atomic.Uint64
	late    atomic.Uint64
	crowded atomic.Uint64
	probe   atomic.Uint64
}

// count adds a request's outcome.
func (t *tally) count(kind Kind, late bool) {
	if kind != Answer {
		t.kinds[kind].Add(1)
	} else if late {
		t.late.Add(1)
	}
}

// Status returns the state, for display.
func (s *Switch) Status() Status {
	st, backlogs := s.status()
	st.Backlogs = make([]Waiting, 0, len(backlogs))
	for _, b := range backlogs { // which have locks of their own
		st.Backlogs = append(st.Backlogs, Waiting{b.name, b.Waiting()})
	}
	return st
}

func (s *Switch) status() (Status, []namedBacklog) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.load()
	st := Status{
		State: w.state(), Generation: w.generation(), Since: s.since, Reason: s.reason, Epoch: s.last,
		Counts: s.counts, TimeIn: s.timeIn, History: append([]Change{}, s.history...),
	}
	st.TimeIn[st.State] += time.Since(s.entered)
	st.Counts.ProbeErrors = s.tally.probe.Load()
	st.Counts.Rejections = s.tally.kinds[Rejection].Load()
	st.Counts.Timeouts = s.tally.kinds[Timeout].Load()
	st.Counts.Faults = s.tally.kinds[Fault].Load()
	st.Counts.Late = s.tally.late.Load()
	st.Counts.Crowded = s.tally.crowded.Load()
	return st, s.backlogs
}

// rememberLocked adds a change to the history and counts it.
func (s *Switch) rememberLocked(c Change) {
	if len(s.history) == historySize {
		s.history = append(s.history[:0], s.history[1:]...)
	}
	s.history = append(s.history, c)
	switch {
	case c.From == Up:
		s.counts.Trips++
	case c.To == Up:
		s.counts.Rejoins++
	case c.From == Rejoining:
		s.counts.FailedRejoins++
	case c.Reason != nil:
		s.counts.Losses++
	}
}
