package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/gcra"
	"github.com/jewgo/gateway/policy"
)

func newValidate() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Check a policy and report every mistake at once",
		Long: "Check a policy and report every mistake at once, as file:line:column: message.\n" +
			"For a valid policy it prints each limit, with the most requests admitted within one period: burst + rate.\n" +
			"Exit status: 0 if the policy is valid, 1 if it is not, 2 if it cannot be read.",
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
	Limits []limitBound  `json:"limits"` // sorted by name; empty if the policy is not valid
}

// limitBound is a limit and the most that it admits.
type limitBound struct {
	Name string   `json:"name"`
	Key  []string `json:"key"`
	quotaBound
	InFlight  int         `json:"in_flight,omitempty"` // at once, for each key and gateway
	Tiers     []tierBound `json:"tiers,omitempty"`     // the most generous first
	Overrides int         `json:"overrides,omitempty"`
	Notes     []string    `json:"notes,omitempty"`
}

type tierBound struct {
	Name string `json:"name"`
	quotaBound
}

// quotaBound is a rate and the most requests of one key that it admits within any
// period; zero where the limit has no rate.
type quotaBound struct {
	Rate   string `json:"rate,omitempty"`
	Burst  int    `json:"burst,omitempty"`
	Most   int    `json:"most,omitempty"`
	Period string `json:"period,omitempty"`
}

func validate(stdout, stderr io.Writer, file string, asJSON bool) error {
	snapshot, err := loadPolicy(file)
	var mistakes policy.Errors
	if err != nil && !errors.As(err, &mistakes) {
		return usage(err)
	}
	v := verdict{File: file, Valid: len(mistakes) == 0, Errors: mistakes, Limits: []limitBound{}}
	if v.Valid {
		v.Errors, v.Limits = policy.Errors{}, limitBounds(snapshot)
	}
	switch {
	case asJSON:
		err = printJSON(stdout, v)
	case v.Valid:
		_, err = fmt.Fprintf(stdout, "%s: valid, %d routes, %d limits, %d upstreams\n%s",
			file, len(snapshot.Routes), len(snapshot.Limits), len(snapshot.Policy.Upstreams), limitTable(v.Limits))
	default:
		_, err = fmt.Fprintln(stderr, mistakes.Error())
	}
	if !v.Valid {
		return &exitError{code: 1}
	}
	return err
}

func limitBounds(s *policy.Snapshot) []limitBound {
	bounds := make([]limitBound, 0, len(s.Limits))
	for _, name := range slices.Sorted(maps.Keys(s.Limits)) {
		l, def := s.Limits[name], s.Policy.Limits[name]
		b := limitBound{Name: name, Key: def.Key, InFlight: l.InFlight, Overrides: len(def.Overrides)}
		if l.InFlight == 0 {
			b.quotaBound = boundOf(l, l.Quota)
		}
		for _, t := range l.Tiers {
			b.Tiers = append(b.Tiers, tierBound{t.Name, boundOf(l, t.Quota)})
		}
		if l.Lease > policy.NoLease {
			b.Notes = append(b.Notes, fmt.Sprintf("lease %d", l.Lease))
		}
		if l.ByStatus() {
			b.Notes = append(b.Notes, "counted by status: requests in flight come on top")
		}
		if l.Shadow {
			b.Notes = append(b.Notes, "shadow: not enforced")
		}
		bounds = append(bounds, b)
	}
	return bounds
}

func boundOf(l *policy.Limit, q gcra.Quota) quotaBound {
	rate, _ := policy.Rate{Tokens: q.Rate, Period: q.Period}.MarshalText() // a compiled quota has a period
	period, _ := policy.Duration(q.Period).MarshalText()                   // never fails
	return quotaBound{Rate: string(rate), Burst: q.Burst, Most: l.MostOf(q, q.Period), Period: string(period)}
}

// limitTable formats the limits as a table for people; "" if there are none.
func limitTable(bounds []limitBound) string {
	if len(bounds) == 0 {
		return ""
	}
	var b bytes.Buffer
	t := newTable(&b)
	row := func(cells ...string) { _, _ = fmt.Fprintln(t, strings.Join(cells, "\t")) } // a Buffer takes everything
	quota := func(name, key string, q quotaBound, notes string) {
		row(name, key, q.Rate, fmt.Sprint(q.Burst), fmt.Sprintf("%d in %s", q.Most, q.Period), notes)
	}
	row("limit", "key", "rate", "burst", "at most", "")
	for _, l := range bounds {
		key, notes := strings.Join(l.Key, " "), strings.Join(l.Notes, "; ")
		if l.InFlight > 0 {
			row(l.Name, key, "", "", fmt.Sprintf("%d at once a gateway", l.InFlight), notes)
			continue
		}
		quota(l.Name, key, l.quotaBound, notes)
		for _, tier := range l.Tiers {
			quota("  "+tier.Name, "", tier.quotaBound, "")
		}
		if l.Overrides > 0 {
			row(fmt.Sprintf("  overrides: %d", l.Overrides), "", "", "", "", "")
		}
	}
	_ = t.Flush() // a Buffer takes everything
	lines := strings.Split(b.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return "\n" + strings.Join(lines, "\n")
}
