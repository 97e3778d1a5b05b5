package peers

import (
	"encoding/binary"

	"github.com/jewgo/gateway/internal/journal"
)

// maxBatch bounds a message between gateways, in bytes.
const maxBatch = 1 << 20

// batchSize is the size of a record in a batch.
func batchSize(r journal.Record) int { return 4 + r.Size() }

// nextBatch is how many records, from the first on, fit in one batch.
func nextBatch(records []journal.Record) int {
	size := 0
	for i, r := range records {
		if size += batchSize(r); size > maxBatch {
			return i
		}
	}
	return len(records)
}

// encodeBatch writes the records in order, each preceded by its length in 4 bytes.
func encodeBatch(records []journal.Record) []byte {
	var b []byte
	for _, r := range records {
		b = binary.BigEndian.AppendUint32(b, uint32(r.Size()))
		b = r.AppendTo(b)
	}
	return b
}

func decodeBatch(b []byte) ([]journal.Record, error) {
	var records []journal.Record
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, journal.ErrEncoding
		}
		n := int64(binary.BigEndian.Uint32(b))
		if n > int64(len(b)-4) {
			return nil, journal.ErrEncoding
		}
		r, err := journal.DecodeRecord(b[4 : 4+n])
		if err != nil {
			return nil, err
		}
		records, b = append(records, r), b[4+n:]
	}
	return records, nil
}
