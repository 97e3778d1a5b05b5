package main

import (
	"bufio"
	"io"
	"text/tabwriter"
)

// table aligns what is written to it into columns, cells ending in a tab. Flush writes all of it at once: a reader
// that stops after its first line (grep -m 1, head) would otherwise end the verb by SIGPIPE.
type table struct {
	*tabwriter.Writer
	out *bufio.Writer
}

func newTable(w io.Writer) *table {
	out := bufio.NewWriterSize(w, 64<<10) // what a pipe holds
	return &table{Writer: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), out: out}
}

func (t *table) Flush() error {
	if err := t.Writer.Flush(); err != nil {
		return err
	}
	return t.out.Flush()
}
