package session

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jewgo/gateway/internal/packed"
)

// ErrTooLarge means that a session does not fit into its cookie or record.
var ErrTooLarge = errors.New("session too large")

// maxRecord bounds an encoded record, in bytes.
const maxRecord = 16 << 10

// recordVersion is the format of encoded records.
const recordVersion = 1

// Record is what a Store keeps of a session. Values and Jar must not be modified after Save.
type Record struct {
	Claims
	Values map[string]string
	Jar    Jar
}

// recordJSON is the encoded form; times are Unix milliseconds. Lua reads g.
type recordJSON struct {
	Version    int               `json:"v"`
	Generation uint64            `json:"g"`
	User       string            `json:"u,omitempty"`
	Roles      []string          `json:"r,omitempty"`
	Issued     int64             `json:"i"`
	Idle       int64             `json:"d"`
	Absolute   int64             `json:"a"`
	Values     map[string]string `json:"k,omitempty"`
	Jar        []byte            `json:"j,omitempty"` // encoded as in seals; nil: it never held a cookie
}

// Encode returns the stored form of the record: JSON, at most 16 KiB, with the generation as the
// number "g".
func (r Record) Encode() ([]byte, error) {
	var jar []byte
	if !r.Jar.Changed.IsZero() {
		jar = r.Jar.appendTo(nil)
	}
	b, err := json.Marshal(recordJSON{
		Version: recordVersion, Generation: r.Generation, User: r.User, Roles: r.Roles,
		Issued: r.Issued.UnixMilli(), Idle: r.Idle.UnixMilli(), Absolute: r.Absolute.UnixMilli(),
		Values: r.Values, Jar: jar,
	})
	if err != nil {
		return nil, err
	}
	if len(b) > maxRecord {
		return nil, fmt.Errorf("%w: a record of %d bytes, at most %d", ErrTooLarge, len(b), maxRecord)
	}
	return b, nil
}

// DecodeRecord reads what Encode wrote. Anything else is ErrUnknown: a record of another version or
// origin counts as none.
func DecodeRecord(b []byte) (Record, error) {
	var j recordJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return Record{}, fmt.Errorf("%w: unreadable record: %w", ErrUnknown, err)
	}
	if j.Version != recordVersion {
		return Record{}, fmt.Errorf("%w: record of version %d", ErrUnknown, j.Version)
	}
	r := Record{
		Claims: Claims{
			Generation: j.Generation, User: j.User, Roles: j.Roles,
			Issued: time.UnixMilli(j.Issued), Idle: time.UnixMilli(j.Idle), Absolute: time.UnixMilli(j.Absolute),
		},
		Values: j.Values,
	}
	if j.Jar != nil {
		c := packed.Reader{Rest: j.Jar}
		if r.Jar = readJar(&c); !c.Whole() {
			return Record{}, fmt.Errorf("%w: unreadable cookies", ErrUnknown)
		}
	}
	return r, nil
}

// compareForks orders two records of one generation of one session, written by gateways that were
// cut off from each other; +1 means that a stays. Later cookies win, then the later deadline. The
// remaining order is arbitrary, but the same on every gateway.
func compareForks(a, b Record) int {
	if c := cmp.Or(a.Jar.Changed.Compare(b.Jar.Changed), a.Idle.Compare(b.Idle)); c != 0 {
		return c
	}
	if maps.Equal(a.Values, b.Values) && slices.Equal(a.Jar.Cookies, b.Jar.Cookies) {
		return 0 // the usual case, without the cost of encoding
	}
	encodedA, _ := a.Encode() // both come from a store, so they can be encoded
	encodedB, _ := b.Encode()
	return bytes.Compare(encodedA, encodedB)
}
