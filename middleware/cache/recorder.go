package cache

import (
	"errors"
	"io"
	"slices"
)

// recorder copies a body while it is read and commits the copy at its clean end.
type recorder struct {
	io.ReadCloser
	want   int64 // length by Content-Length; -1: unknown
	limit  int64
	body   []byte
	commit func(body []byte) // nil once the recording has ended, either way
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.commit == nil {
		return n, err
	}
	switch total := int64(len(r.body)) + int64(n); {
	case total > r.limit || err != nil && !errors.Is(err, io.EOF):
		r.body, r.commit = nil, nil
	default:
		if r.body == nil && r.want > 0 {
			r.body = make([]byte, 0, r.want)
		}
		r.body = append(r.body, p[:n]...)
		if err != nil {
			if r.want < 0 || r.want == total {
				r.commit(fit(r.body))
			}
			r.body, r.commit = nil, nil
		}
	}
	return n, err
}

// fit returns b without much unused memory behind it, since that is kept too.
func fit(b []byte) []byte {
	if cap(b)-len(b) > len(b)/8 {
		return slices.Clone(b)[:len(b):len(b)]
	}
	return b
}
