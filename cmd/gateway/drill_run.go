package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// drillFlags are the flags that all drills have. What is set before declare is the
// default.
type drillFlags struct {
	length time.Duration
	seed   uint64
	json   string // file; "-": standard output
}

// declare adds the flags to a command; length and seed say what they are to it.
func (f *drillFlags) declare(cmd *cobra.Command, length, seed string) {
	flags := cmd.Flags()
	flags.DurationVar(&f.length, "for", f.length, length)
	flags.Uint64Var(&f.seed, "seed", f.seed, seed)
	flags.StringVar(&f.json, "json", "", "write the result as JSON into this file; -: in place of the table")
}

// drillResult is what a drill found, as a JSON document and as a table.
type drillResult interface {
	Write(w io.Writer) error
	Table(w io.Writer) error
}

// run gives play a folder and a context that TERM and INT end, and writes down
// what it found.
func (f *drillFlags) run(cmd *cobra.Command, play func(ctx context.Context, dir string) (_ drillResult, passed bool, _ error)) error {
	if f.json != "" && f.json != "-" {
		// A file that cannot be written is better known now than in some minutes.
		if err := os.WriteFile(f.json, nil, 0o644); err != nil {
			return usage(err)
		}
	}
	dir, err := os.MkdirTemp("", "gateway-drill-")
	if err != nil {
		return usage(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system clears its folder for temporary files
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result, passed, err := play(ctx, dir)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err == nil {
		err = f.write(cmd.OutOrStdout(), result)
	}
	if err != nil {
		return usage(err)
	}
	if !passed {
		return &exitError{code: 1}
	}
	return nil
}

// write writes the table, the JSON document, or both.
func (f *drillFlags) write(stdout io.Writer, result drillResult) error {
	switch f.json {
	case "-":
		return result.Write(stdout)
	case "":
		return result.Table(stdout)
	}
	var b bytes.Buffer
	if err := result.Write(&b); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(f.json, b.Bytes(), 0o644), result.Table(stdout))
}
