package cache

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func encodableEntry() *Entry {
	e := &Entry{
		Status: http.StatusOK, Body: []byte(strings.Repeat("<p>kosher</p>", 10_000)),
		Header: http.Header{"Content-Type": {"text/html"}, "Vary": {"Accept-Encoding"}},
	}
	e.Codings = newCodings(e, nil)
	return e
}

func TestAFormIsMadeOnce(t *testing.T) {
	c, e := New(Config{}), encodableEntry()
	defer c.Close()
	const clients = 50
	forms := make([]*coded, clients)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() { forms[i] = c.makeForm(e, want{coding: i % len(codings), must: i < 2*len(codings)}) })
	}
	all.Wait()
	for i, f := range forms {
		kept := e.Codings.coding[i%len(codings)].form.Load()
		if f == nil && i < 2*len(codings) {
			t.Errorf("client %d accepts only %s, but got identity", i, codings[i%len(codings)])
		}
		if f != nil && f != kept {
			t.Errorf("%s was made more than once", codings[i%len(codings)])
		}
	}
	if len(c.making) != 0 {
		t.Errorf("%d slots are still taken", len(c.making))
	}
}

func TestWhoNeedNotWaitsForNoForm(t *testing.T) {
	c, e := New(Config{}), encodableEntry()
	defer c.Close()
	e.Codings.coding[0].mu.Lock() // someone makes it
	if c.makeForm(e, want{coding: 0}) != nil {
		t.Error("the form was made twice")
	}
	e.Codings.coding[0].mu.Unlock()
	release := c.HoldEncodings()
	if c.makeForm(e, want{coding: 0}) != nil {
		t.Error("more forms are made at a time than there are slots")
	}
	release()
	if c.makeForm(e, want{coding: 0}) == nil {
		t.Error("the form is not made although a slot is free")
	}
}

func TestAFormNoSmallerThanIdentityIsNotKept(t *testing.T) {
	body := make([]byte, 4*minEncoded)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body)
	for i, coding := range codings {
		if f := encoded(body, i); f.body != nil {
			t.Errorf("%s: %d bytes of %d are kept", coding, len(f.body), len(body))
		}
		if f := encoded(bytes.Repeat(body[:64], 64), i); f.body == nil || cap(f.body) != len(f.body) || f.length[0] != strconv.Itoa(len(f.body)) {
			t.Errorf("%s: %d bytes, %d of memory, Content-Length %q", coding, len(f.body), cap(f.body), f.length)
		}
	}
}
