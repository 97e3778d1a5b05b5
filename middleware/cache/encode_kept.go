package cache

import (
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// maxMaking bounds the encodings of stored content at a time, which are work for
// the processor alone; beyond it hits give identity.
const maxMaking = 4

// Codings are the encoded forms of a stored body: each is made for the first hit
// that wants it, and goes with its entry. They are for many goroutines.
type Codings struct {
	tag    []string // ETag of all of them; nil: none
	coding [len(codings)]struct {
		mu   sync.Mutex            // held while it is made: it is made once
		form atomic.Pointer[coded] // nil: not made
	}
}

// coded is a body in one coding. Without a body it is larger than identity, and
// identity is given.
type coded struct {
	body   []byte
	length []string // Content-Length
}

// newCodings returns what an entry has of encoded forms, nil if it is never
// encoded: what could be said so in Vary when it was stored. Of the same body
// some may have been made already.
func newCodings(e *Entry, made *Codings) *Codings {
	if e.partial() || len(e.Body) < minEncoded || !encodable(e.Status, e.Header) || !rfc9111.Varies(e.Header, "Accept-Encoding") {
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

// size estimates the bytes that the forms take in memory.
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

// form returns the body in a coding, or nil for identity: it is no smaller, or
// someone makes it at this moment, or too much is being made. Where identity is
// not acceptable it is waited for.
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

// makeForm makes what is not made yet. A request that would have to wait goes
// without, unless it must.
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
		return f // while this one waited
	}
	if w.must {
		c.making <- struct{}{} // an encoding ends
	} else if !try(c.making) {
		return nil
	}
	defer func() { <-c.making }()
	f := encoded(e.Body, w.coding)
	at.form.Store(f)
	return f
}

// try takes a place if there is one.
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
