package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/policy"
)

// inForce tells which policy is in force, and what the last reload changed.
type inForce struct {
	mu      sync.Mutex // guards what follows
	current *policy.Snapshot
	view    admin.PolicyInForce
}

// put puts a policy in force.
func (f *inForce) put(s *policy.Snapshot, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := admin.PolicyInForce{File: s.File, Digest: s.Digest, Routes: len(s.Routes), Limits: len(s.Limits), Since: now.UTC()}
	if f.current != nil {
		v.Before, v.Changes = f.current.Digest, policy.Diff(f.current.Policy, s.Policy)
		if v.Before == v.Digest && len(v.Changes) == 0 { // it was reloaded by itself, and then by hand
			f.view.Refused, f.view.RefusedAt = "", time.Time{}
			return
		}
	}
	f.current, f.view = s, v
}

// refuse notes why a policy was not put in force.
func (f *inForce) refuse(err error, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if exit := (&exitError{}); errors.As(err, &exit) && exit.err != nil {
		err = exit.err // how a command would have ended does not matter here
	}
	f.view.Refused, f.view.RefusedAt = err.Error(), now.UTC()
}

func (f *inForce) show() admin.PolicyInForce {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view
}

func newChanges() *cobra.Command {
	var c adminClient
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "changes",
		Short: "Show what the last reload changed",
		Long: "Show which policy a running gateway serves, since when, what its last reload changed, and why a later one was refused.\n" +
			"Keys that are not set have no value here; those of routes are under the route's name.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var p admin.PolicyInForce
			if err := c.ask(cmd.Context(), http.MethodGet, "/v1/config", nil, &p); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), p)
			}
			t := newTable(cmd.OutOrStdout())
			line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) } // Flush reports errors
			line("%s %s in force since %s", p.File, p.Digest, p.Since.Format(time.RFC3339))
			switch {
			case p.Before == "":
				line("it was not reloaded since the start")
			case len(p.Changes) == 0:
				line("the reload changed nothing that counts")
			}
			for _, change := range p.Changes {
				line("%s\t%s\t->\t%s", change.Key, cmp.Or(change.Old, "-"), cmp.Or(change.New, "-"))
			}
			if p.Refused != "" {
				line("refused at %s: %s", p.RefusedAt.Format(time.RFC3339), p.Refused)
			}
			return t.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	c.flags(cmd)
	return cmd
}
