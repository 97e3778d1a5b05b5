package journal

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// recordGen draws records with few keys and versions, so that they collide.
func recordGen() *rapid.Generator[Record] {
	return rapid.Custom(func(t *rapid.T) Record {
		r, err := Record{
			Kind:    rapid.SampledFrom([]string{"session", "purge"}).Draw(t, "kind"),
			Key:     rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key"),
			Value:   rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "value"),
			Version: rapid.Uint64Range(0, 4).Draw(t, "version"),
			Expires: epoch.Add(time.Duration(rapid.Int64Range(1, 100_000).Draw(t, "expires")) * time.Millisecond),
		}.Normal()
		if err != nil {
			t.Fatal(err)
		}
		return r
	})
}

func TestMergeIsAJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := recordGen().Draw(t, "a"), recordGen().Draw(t, "b"), recordGen().Draw(t, "c")
		b.Kind, b.Key, c.Kind, c.Key = a.Kind, a.Key, a.Kind, a.Key
		if !a.Merge(a).equal(a) {
			t.Fatal("not idempotent")
		}
		if !a.Merge(b).equal(b.Merge(a)) {
			t.Fatal("not commutative")
		}
		if !a.Merge(b).Merge(c).equal(a.Merge(b.Merge(c))) {
			t.Fatal("not associative")
		}
	})
}

func TestMerge(t *testing.T) {
	soon, late := epoch.Add(time.Minute), epoch.Add(time.Hour)
	for _, c := range []struct {
		why        string
		a, b, want Record
	}{
		{
			"the higher version is kept in any order, until the later expiry",
			Record{Version: 2, Value: []byte("new"), Expires: soon},
			Record{Version: 1, Value: []byte("old"), Expires: late},
			Record{Version: 2, Value: []byte("new"), Expires: late},
		},
		{
			"among equal versions all gateways choose the same value",
			Record{Version: 1, Value: []byte("b"), Expires: soon},
			Record{Version: 1, Value: []byte("a"), Expires: soon},
			Record{Version: 1, Value: []byte("b"), Expires: soon},
		},
	} {
		t.Run(c.why, func(t *testing.T) {
			if got := c.a.Merge(c.b); !got.equal(c.want) {
				t.Errorf("got %+v", got)
			}
			if got := c.b.Merge(c.a); !got.equal(c.want) {
				t.Errorf("in reverse order %+v", got)
			}
		})
	}
}

func TestInvalidRecords(t *testing.T) {
	good := rec("a", 1)
	for _, c := range []struct {
		why   string
		spoil func(*Record)
	}{
		{"no kind", func(r *Record) { r.Kind = "" }},
		{"a long kind", func(r *Record) { r.Kind = strings.Repeat("k", MaxKind+1) }},
		{"no key", func(r *Record) { r.Key = "" }},
		{"a long key", func(r *Record) { r.Key = strings.Repeat("k", MaxKey+1) }},
		{"a long value", func(r *Record) { r.Value = make([]byte, MaxValue+1) }},
		{"no end", func(r *Record) { r.Expires = time.Time{} }},
		{"too late an expiry", func(r *Record) { r.Expires = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC) }},
	} {
		t.Run(c.why, func(t *testing.T) {
			r := good
			c.spoil(&r)
			if _, err := r.Normal(); !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestExpiresRoundsUp(t *testing.T) {
	r := rec("a", 1)
	r.Expires = epoch.Add(time.Nanosecond)
	got, err := r.Normal()
	if want := epoch.Add(time.Millisecond); err != nil || !got.Expires.Equal(want) {
		t.Errorf("got %v, %v, want %v", got.Expires, err, want)
	}
}
