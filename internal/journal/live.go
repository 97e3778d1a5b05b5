package journal

import "time"

// live is the journal's set of records, in memory.
type live struct {
	records   map[id]Record
	unwritten map[id]struct{} // records whose present form is not on disk
	bytes     int64           // size of the records on disk

	earliest time.Time // no record expires before this time; zero: there are no records
	swept    time.Time
}

func newLive() live {
	return live{records: map[id]Record{}, unwritten: map[id]struct{}{}}
}

// merge adds a record and reports whether that changed anything. An expired record matters only if
// it adds to one that is kept.
func (l *live) merge(r Record, now time.Time) bool {
	old, ok := l.records[r.id()]
	if ok {
		r = old.Merge(r)
		if r.equal(old) {
			return false
		}
		l.bytes -= frameSize(old)
	} else if !r.Expires.After(now) {
		return false
	}
	l.records[r.id()] = r
	l.bytes += frameSize(r)
	if l.earliest.IsZero() || r.Expires.Before(l.earliest) {
		l.earliest = r.Expires
	}
	return true
}

// admit adds either all records, or none and returns false because they would exceed the limits.
func (l *live) admit(records []Record, limits Config, now time.Time) bool {
	if !l.fits(records, limits, now) {
		l.sweep(now)
		if !l.fits(records, limits, now) {
			return false
		}
	}
	for _, r := range records {
		if l.merge(r, now) {
			l.unwritten[r.id()] = struct{}{}
		}
	}
	return true
}

func (l *live) fits(records []Record, limits Config, now time.Time) bool {
	atMost := l.bytes
	for _, r := range records {
		atMost += frameSize(r)
	}
	if len(l.records)+len(records) <= limits.MaxRecords && atMost <= limits.MaxBytes {
		return true
	}
	joined := make(map[id]Record, len(records))
	for _, r := range records {
		have, ok := joined[r.id()]
		if !ok {
			have, ok = l.records[r.id()]
		}
		if ok {
			r = have.Merge(r)
		} else if !r.Expires.After(now) {
			continue
		}
		joined[r.id()] = r
	}
	count, size := len(l.records), l.bytes
	for i, r := range joined {
		old, ok := l.records[i]
		if ok {
			size -= frameSize(old)
		} else {
			count++
		}
		size += frameSize(r)
	}
	// If the limits are already exceeded, as after they were lowered, records that need no more
	// room are still admitted.
	return (count <= limits.MaxRecords || count == len(l.records)) && (size <= limits.MaxBytes || size <= l.bytes)
}

// found adds records read from disk.
func (l *live) found(records []Record, now time.Time) {
	for _, r := range records { // merge all before dropping any, or an older record could outlive a newer one
		l.merge(r, time.Time{})
		if l.records[r.id()].equal(r) {
			delete(l.unwritten, r.id())
		}
	}
	l.swept = time.Time{}
	l.sweep(now)
}

// sweepEvery saves a full journal from a sweep for every refused record.
const sweepEvery = time.Second

// sweep drops expired records and reports whether there were any.
func (l *live) sweep(now time.Time) bool {
	if len(l.records) == 0 || now.Before(l.earliest) || now.Sub(l.swept).Abs() < sweepEvery {
		return false
	}
	before := len(l.records)
	l.swept, l.earliest = now, time.Time{}
	for i, r := range l.records {
		if !r.Expires.After(now) {
			delete(l.records, i)
			delete(l.unwritten, i)
			l.bytes -= frameSize(r)
		} else if l.earliest.IsZero() || r.Expires.Before(l.earliest) {
			l.earliest = r.Expires
		}
	}
	return len(l.records) < before
}

// all returns the records in force now.
func (l *live) all(now time.Time) []Record {
	records := make([]Record, 0, len(l.records))
	for _, r := range l.records {
		if r.Expires.After(now) {
			records = append(records, r)
		}
	}
	return records
}

// waiting returns the records still to be written.
func (l *live) waiting() []Record {
	records := make([]Record, 0, len(l.unwritten))
	for i := range l.unwritten {
		records = append(records, l.records[i])
	}
	return records
}

// written records that these versions of the records are on disk.
func (l *live) written(records []Record) {
	for _, r := range records {
		if l.records[r.id()].equal(r) {
			delete(l.unwritten, r.id())
		}
	}
}

func (l *live) writtenAll(records []Record) bool {
	for _, r := range records {
		if _, ok := l.unwritten[r.id()]; ok {
			return false
		}
	}
	return true
}
