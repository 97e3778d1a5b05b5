package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"testing"
)

// A reader that leaves after one line, as grep -m 1 does, is no error: all was written before.
func TestTableIsWrittenAtOnce(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	writes := &writeCounter{w: w}
	table := newTable(writes)
	for i := range 100 {
		_, _ = fmt.Fprintf(table, "key\t%d\n", i)
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(r).ReadString('\n'); line != "key  0\n" || err != nil {
		t.Errorf("first line %q, %v", line, err)
	}
	if writes.n != 1 {
		t.Errorf("%d writes", writes.n)
	}
}

type writeCounter struct {
	w io.Writer
	n int
}

func (c *writeCounter) Write(p []byte) (int, error) {
	c.n++
	return c.w.Write(p)
}
