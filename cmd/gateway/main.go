// Command gateway is a reverse proxy for the edge: distributed rate limits,
// sessions and a shared response cache in Redis, and local memory whenever
// Redis is unavailable. This package holds the commands and the wiring. No other
// package knows all the others.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set when a release is linked.
var version string

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

// exitError carries a command's exit status; other errors exit with 1.
type exitError struct {
	code int
	err  error // nil: the command has printed everything already
}

func (e *exitError) Error() string { return fmt.Sprintf("exit status %d: %v", e.code, e.err) }

func (e *exitError) Unwrap() error { return e.err }

// exitUsage is the exit status for wrong arguments or an unreadable file.
const exitUsage = 2

func usage(err error) error { return &exitError{code: exitUsage, err: err} }

func execute(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	exit := &exitError{code: 1, err: err}
	errors.As(err, &exit)
	if exit.err != nil {
		_, _ = fmt.Fprintln(stderr, "gateway:", exit.err) // a terminal that is gone cannot be told
	}
	return exit.code
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "gateway",
		Short:         "A reverse-proxy gateway that keeps its promises when Redis does not",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.AddCommand(newInit(), newRun(), newUp(), newDemo(), newValidate(), newReload(), newStatus(), newExplain(), newChanges(), newCache(), newPurge(), newWarm(), newTargetsVerb(), newLimits(), newSessions(), newHealthcheck(), newSchema(), newVersion())
	for _, cmd := range root.Commands() {
		for _, verb := range append(cmd.Commands(), cmd) {
			verb.Args = usageArgs(verb.Args)
		}
	}
	root.Args = usageArgs(func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q; see gateway --help", args[0])
		}
		return nil
	})
	return root
}

// usageArgs turns errors of check into usage errors.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check == nil {
			return nil
		}
		if err := check(cmd, args); err != nil {
			return usage(err)
		}
		return nil
	}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "gateway", versionText())
			return err
		},
	}
}

// versionText is the version set by the linker, else the one from the build info.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
