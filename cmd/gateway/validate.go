package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/policy"
)

func newValidate() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Check a policy and report every mistake at once",
		Long: "Check a policy and report every mistake at once, as file:line:column: message.\n" +
			"Exit status: 0 the policy is valid, 1 it is not, 2 it could not be read.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				file = args[0]
			}
			return validate(cmd.OutOrStdout(), cmd.ErrOrStderr(), file, asJSON)
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// verdict is what validate --json prints.
type verdict struct {
	File   string        `json:"file"`
	Valid  bool          `json:"valid"`
	Errors policy.Errors `json:"errors"`
}

func validate(stdout, stderr io.Writer, file string, asJSON bool) error {
	snapshot, err := policy.Load(file, os.Getenv)
	var mistakes policy.Errors
	if err != nil && !errors.As(err, &mistakes) {
		return usage(err)
	}
	if asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		if mistakes == nil {
			mistakes = policy.Errors{}
		}
		if err := enc.Encode(verdict{File: file, Valid: len(mistakes) == 0, Errors: mistakes}); err != nil {
			return err
		}
	}
	if len(mistakes) > 0 {
		if !asJSON {
			_, _ = fmt.Fprintln(stderr, mistakes.Error()) // as in execute
		}
		return &exitError{code: 1}
	}
	if !asJSON {
		_, err = fmt.Fprintf(stdout, "%s: valid, %d routes, %d limits, %d upstreams\n",
			file, len(snapshot.Routes), len(snapshot.Limits), len(snapshot.Policy.Upstreams))
	}
	return err
}
