package cache

import (
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// maxMaking bounds concurrent encodings of stored content, which are pure CPU work. Beyond it hits
// get identity.
const maxMaking = 4

// Codings are the encoded forms of a stored body. Each is made for the first hit that wants it, and
// is dropped with its entry. They are safe for concurrent use.
type Codings struct {
	tag    []string // ETag of all forms; nil: none
	coding [len(codings)]struct {
		mu   sync.Mutex            // held while the form is made, so that it is made once
		form atomic.Pointer[coded] // nil: not made
	}
}

// coded is a body in one coding. Without a body, encoding saves nothing and identity is sent.
type coded struct {
	body   []byte
	length []string // Content-Length
}

// newCodings returns an entry's encoded forms, or nil if it is never encoded: its Vary was decided
// when it was stored. made may hold forms of the same body.
func newCodings(e *Entry, made *Codings) *Codings {
	if e.partial() || !e.Compresses() || !rfc9111.Varies(e.Header, "Accept-Encoding") {
		return nil
	}
	c := &Codings{tag: weakTag(e.Header)}
	if made != nil {
		for i := range made.coding {
			c.coding[i].form.Store(made.coding[i].form.Load())
		}
	}
	return c
}

// size estimates the memory of the forms, in bytes.
func (c *Codings) size() int {
	if c == nil {
		return 0
	}
	const all, one = 128, 96
	n := all
	for i := range c.coding {
		if f := c.coding[i].form.Load(); f != nil {
			n += one + cap(f.body)
		}
	}
	return n
}

// form returns the body in a coding. nil means identity: the form is no smaller, another request is
// making it, or too many are being made. If identity is not acceptable, form waits instead.
func (c *Cache) form(e *Entry, key string, w want) *coded {
	at := &e.Codings.coding[w.coding]
	f := at.form.Load()
	if f == nil {
		if f = c.makeForm(e, w); f == nil {
			return nil
		}
		c.store.Local.Reweigh(key)
	}
	if f.body == nil {
		return nil
	}
	return f
}

// makeForm makes the form unless it exists. A request that would have to wait gets nil, unless
// identity is not acceptable.
func (c *Cache) makeForm(e *Entry, w want) *coded {
	at := &e.Codings.coding[w.coding]
	switch {
	case w.must:
		at.mu.Lock()
	case !at.mu.TryLock():
		return nil
	}
	defer at.mu.Unlock()
	if f := at.form.Load(); f != nil {
		return f // made while this request waited
	}
	if w.must {
		c.making <- struct{}{} // encodings end soon
	} else if !try(c.making) {
		return nil
	}
	defer func() { <-c.making }()
	f := encoded(e.Body, w.coding)
	at.form.Store(f)
	return f
}

// try takes a slot if one is free.
func try(places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
		return false
	}
}

// encoded encodes a body.
func encoded(body []byte, coding int) *coded {
	enc := takeEncoder(coding)
	defer giveEncoder(coding, enc)
	_, _ = enc.Write(body) // a buffer in memory never refuses
	_ = enc.Close()
	n := enc.out.Len()
	if n >= len(body) {
		return &coded{}
	}
	return &coded{body: append(make([]byte, 0, n), enc.out.Bytes()...), length: []string{strconv.Itoa(n)}}
}
