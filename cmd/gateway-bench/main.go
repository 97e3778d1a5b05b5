// Command gateway-bench measures the gateway beside other servers, in front of the same upstream. It is
// not part of the product.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/test/drill"
	"github.com/jewgo/gateway/test/env"
	"github.com/jewgo/gateway/test/field"
)

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

// execute runs a command line. The exit status is 0 if everything was measured, and 1 otherwise.
func execute(args []string, stdout, stderr io.Writer) int {
	root := newRoot(args)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	fmt.Fprintln(stderr, "gateway-bench:", err)
	return 1
}

// command is the tool's flags.
type command struct {
	field.Config
	args                []string // the command line, for the page
	json, svg, markdown string   // files
}

func newRoot(args []string) *cobra.Command {
	c := &command{args: args}
	cmd := &cobra.Command{
		Use:   "gateway-bench",
		Short: "Measure the gateway beside net/http, nginx, HAProxy, Varnish and Caddy",
		Long: "Start servers in front of the same upstream, and have wrk and vegeta send them the same requests, in turns.\n" +
			"Servers that are not installed are left out. A response with another status than the case's fails the run, and so does\n" +
			"one that should come from a cache and does not.",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&c.Gateway, "gateway", "", "the gateway to measure (default: the one beside this program)")
	f.DurationVar(&c.Round, "round", 3*time.Second, "how long a server is under load at a time; wrk takes whole seconds, so it is rounded up for it")
	f.IntVar(&c.Rounds, "rounds", 5, "how many times each server is measured; the result is the median")
	f.StringVar(&c.Only, "only", "", "play only cases or servers with this in their name, and the baselines")
	f.StringVar(&c.Profile, "profile", "", "keep a CPU profile of the gateway under each case in this folder")
	f.StringVar(&c.json, "json", "", "write the result as JSON to this file")
	f.StringVar(&c.svg, "svg", "", "draw the CPU time of a request into this file")
	f.StringVar(&c.markdown, "markdown", "", "write a page with the machine, the versions and the tables to this file")
	cmd.AddCommand(newServe())
	return cmd
}

func (c *command) run(cmd *cobra.Command) (err error) {
	if c.Round < 100*time.Millisecond || c.Round > 5*time.Minute || c.Rounds < 1 || c.Rounds > 100 {
		return errors.New("want --round from 100ms to 5m, and --rounds from 1 to 100")
	}
	if c.Self, err = os.Executable(); err != nil {
		return err
	}
	if c.Gateway == "" {
		c.Gateway = filepath.Join(filepath.Dir(c.Self), "gateway")
	}
	if c.Gateway, err = exec.LookPath(c.Gateway); err != nil {
		return fmt.Errorf("%w; build it, or name it with --gateway", err)
	}
	if _, err := exec.LookPath("wrk"); err != nil {
		return fmt.Errorf("%w; on Debian: apt-get install wrk", err)
	}
	c.Say = func(event string) { fmt.Fprintln(cmd.ErrOrStderr(), event) }
	var tables []field.Table
	err = drill.Run(func(t env.T) (err error) {
		tables, err = field.Run(cmd.Context(), t, c.Config)
		return err
	})
	if err != nil {
		return err
	}
	for _, table := range tables {
		if err := table.Text(cmd.OutOrStdout()); err != nil {
			return err
		}
	}
	return c.write(field.NewReport(cmd.Context(), c.Config, "make bench ARGS="+strconv.Quote(strings.Join(c.args, " ")), tables))
}

// write writes the files that were asked for.
func (c *command) write(r field.Report) error {
	document, err := json.MarshalIndent(r, "", "  ")
	for _, file := range []struct {
		name    string
		content func() []byte
	}{
		{c.json, func() []byte { return append(document, '\n') }},
		{c.svg, func() []byte { return []byte(r.SVG()) }},
		{c.markdown, func() []byte { return []byte(r.Markdown(filepath.Base(c.svg))) }},
	} {
		if file.name != "" {
			err = errors.Join(err, os.WriteFile(file.name, file.content(), 0o644))
		}
	}
	return err
}
