package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The maximum sizes of a record's parts, in bytes.
const (
	MaxKind  = 32
	MaxKey   = 1 << 10
	MaxValue = 32 << 10
)

// ErrInvalid means that a record cannot be kept: a part is missing or too long.
var ErrInvalid = errors.New("invalid record")

// ErrEncoding means that bytes do not encode a record.
var ErrEncoding = errors.New("not a record")

// Record is one fact that must survive, such as that a session is revoked, from what time on a
// user's sessions count, or what was purged. Kind and Key identify its subject; of two records
// about the same subject the one with the higher Version is kept (see Merge).
type Record struct {
	Kind string // one of a few words chosen by the consumer; not empty
	Key  string // not empty
	// Value belongs to the consumer. It is shared and must not be changed after the record was
	// passed on.
	Value []byte
	// Version orders the records of one Kind and Key over all gateways: a time, a counter or a
	// generation, but the same sort for all records of a Kind.
	Version uint64
	// Expires is when the record may be dropped; every record has such a time, so the log stays
	// bounded. It is kept in whole milliseconds, rounded up.
	Expires time.Time
}

// id identifies a record's subject.
type id struct{ kind, key string }

func (r Record) id() id { return id{r.Kind, r.Key} }

// Merge joins two records of the same Kind and Key. The higher Version is kept, or among equal ones
// the greater Value. It is kept until the later of both expiry times, so that an older record
// cannot come back after a newer one has expired. Merge is idempotent, commutative and associative:
// gateways that have seen the same records, in any order, hold the same.
func (r Record) Merge(other Record) Record {
	if other.Version > r.Version || other.Version == r.Version && bytes.Compare(other.Value, r.Value) > 0 {
		r.Version, r.Value = other.Version, other.Value
	}
	if other.Expires.After(r.Expires) {
		r.Expires = other.Expires
	}
	return r
}

func (r Record) equal(other Record) bool {
	return r.id() == other.id() && r.Version == other.Version && r.Expires.Equal(other.Expires) && bytes.Equal(r.Value, other.Value)
}

// Normal returns the record as it will be read back, with its own copy of Value.
func (r Record) Normal() (Record, error) {
	switch {
	case r.Kind == "" || len(r.Kind) > MaxKind:
		return r, fmt.Errorf("%w: the kind has %d bytes, not 1 to %d", ErrInvalid, len(r.Kind), MaxKind)
	case r.Key == "" || len(r.Key) > MaxKey:
		return r, fmt.Errorf("%w: the key has %d bytes, not 1 to %d", ErrInvalid, len(r.Key), MaxKey)
	case len(r.Value) > MaxValue:
		return r, fmt.Errorf("%w: the value has %d bytes, more than %d", ErrInvalid, len(r.Value), MaxValue)
	}
	ms := r.Expires.Add(time.Millisecond - 1).UnixMilli()
	if ms <= 0 || ms > maxExpires {
		return r, fmt.Errorf("%w: invalid expiry time %v", ErrInvalid, r.Expires)
	}
	r.Expires = time.UnixMilli(ms).UTC()
	r.Value = bytes.Clone(r.Value)
	if len(r.Value) == 0 {
		r.Value = nil
	}
	return r, nil
}

// A payload is Version, Expires in milliseconds since 1970, and the lengths of
// kind, key and value in 8, 8, 1, 2 and 4 bytes, big-endian, then kind, key and
// value. Every record has one encoding.
const (
	payloadHead = 8 + 8 + 1 + 2 + 4
	maxPayload  = payloadHead + MaxKind + MaxKey + MaxValue
)

// maxExpires is the last millisecond of the year 9999.
const maxExpires = 253402300799999

// Size is the number of bytes that AppendTo appends.
func (r Record) Size() int { return payloadHead + len(r.Kind) + len(r.Key) + len(r.Value) }

// AppendTo appends the encoding of a record returned by Normal.
func (r Record) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, r.Version)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Expires.UnixMilli()))
	b = append(b, byte(len(r.Kind)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Key)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Value)))
	b = append(b, r.Kind...)
	b = append(b, r.Key...)
	return append(b, r.Value...)
}

// DecodeRecord reads a payload, which must be all of b. The record does not share memory with b.
func DecodeRecord(b []byte) (Record, error) {
	if len(b) < payloadHead {
		return Record{}, ErrEncoding
	}
	version, expires := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	kind, key, value := int(b[16]), int(binary.BigEndian.Uint16(b[17:])), int64(binary.BigEndian.Uint32(b[19:]))
	if int64(len(b)) != payloadHead+int64(kind+key)+value || expires > maxExpires {
		return Record{}, ErrEncoding
	}
	b = b[payloadHead:]
	return Record{
		Kind: string(b[:kind]), Key: string(b[kind : kind+key]), Value: b[kind+key:],
		Version: version, Expires: time.UnixMilli(int64(expires)),
	}.Normal()
}
