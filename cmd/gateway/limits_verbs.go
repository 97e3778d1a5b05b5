package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/middleware/ratelimit"
	"github.com/jewgo/gateway/policy"
)

func newLimits() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "limits",
		Short: "See and reset rate limits of a running gateway",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLimitsTop(), newLimitsShow(), newLimitsReset())
	return cmd
}

func newLimitsTop() *cobra.Command {
	var c adminClient
	cmd := &cobra.Command{
		Use:   "top",
		Short: "List the keys that are charged most",
		Long: "List the keys that are charged most on one gateway, with what they took in about the last minute.\n" +
			"A key can be passed to show and reset as it is.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var v limitsView
			if err := c.ask(cmd.Context(), http.MethodGet, "/v1/limits", nil, &v); err != nil {
				return err
			}
			t := newTable(cmd.OutOrStdout())
			_, _ = fmt.Fprintln(t, "charged\trefused\tkey") // Flush reports errors
			for _, h := range v.Hottest {
				_, _ = fmt.Fprintf(t, "%d\t%d\t%s\n", h.Total, h.Denied, h.Key)
			}
			return t.Flush()
		},
	}
	c.flags(cmd)
	return cmd
}

// bucketsNamed are the buckets that a command line names: one by its key, or those of a client on a
// route.
type bucketsNamed struct {
	client    adminClient
	route, of string
	suffix    string // of the path
}

// limitVerb completes a command that calls the gateway for each bucket, and shows the answers.
func limitVerb[T any](cmd *cobra.Command, method, suffix string, show func(w io.Writer, answer T) error) *cobra.Command {
	n := &bucketsNamed{suffix: suffix}
	cmd.Args = cobra.MaximumNArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		paths, err := n.paths(args)
		if err != nil {
			return usage(err)
		}
		for _, path := range paths {
			var answer T
			if err := n.client.ask(cmd.Context(), method, path, nil, &answer); err != nil {
				return err
			}
			if err := show(cmd.OutOrStdout(), answer); err != nil {
				return err
			}
		}
		return nil
	}
	cmd.Flags().StringVar(&n.route, "route", "", "the limits of this route that count by client address; with --client")
	cmd.Flags().StringVar(&n.of, "client", "", "the client's address")
	n.client.flags(cmd)
	return cmd
}

// paths returns the paths of the API for the buckets.
func (n *bucketsNamed) paths(args []string) ([]string, error) {
	path := func(limit, key string) string {
		return "/v1/limits/" + url.PathEscape(limit) + n.suffix + "?key=" + url.QueryEscape(key)
	}
	switch {
	case len(args) == 1 && n.route == "" && n.of == "":
		return []string{path(ratelimit.LimitOf(args[0]), args[0])}, nil
	case len(args) > 0 || n.route == "" || n.of == "":
		return nil, errors.New("name a key as `gateway limits top` lists it, or --route and --client")
	}
	s, err := loadPolicy(n.client.config)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(s.Routes, func(r *policy.Route) bool { return r.Name == n.route })
	if i < 0 {
		return nil, fmt.Errorf("the policy has no route %q", n.route)
	}
	var all []string
	for _, l := range s.Routes[i].Limits {
		if l.InFlight == 0 && len(l.Key) == 1 && l.Key[0].Kind == policy.SourceClientIP {
			all = append(all, path(l.Name, n.of))
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no limit of route %q counts by client address", n.route)
	}
	return all, nil
}

func newLimitsShow() *cobra.Command {
	return limitVerb(&cobra.Command{
		Use:   "show [KEY]",
		Short: "Show what is left of a limit",
	}, http.MethodGet, "", showBucket)
}

func showBucket(w io.Writer, v bucketView) error {
	_, err := fmt.Fprintln(w, v.Key)
	seconds := func(s float64) string { return time.Duration(s * float64(time.Second)).Round(time.Second).String() }
	if r := v.Redis; r != nil {
		_, err = fmt.Fprintf(w, "  all gateways: %d left, whole in %s\n", r.Remaining, seconds(r.Whole))
	}
	switch h := v.Here; {
	case h == nil && v.Redis == nil:
		_, err = fmt.Fprintln(w, "  whole, as far as this gateway knows")
	case h != nil && v.Redis == nil:
		_, err = fmt.Fprintf(w, "  this gateway: whole in %s\n", seconds(max(h.Own, h.Seen)))
	case h != nil && h.Leased > 0:
		_, err = fmt.Fprintf(w, "  this gateway: %d leased for %s\n", h.Leased, seconds(h.LeaseEnds))
	}
	for _, tier := range v.Tiers {
		err = errors.Join(err, showBucket(w, tier))
	}
	return err
}

func newLimitsReset() *cobra.Command {
	return limitVerb(&cobra.Command{
		Use:   "reset [KEY]",
		Short: "Make a limit whole again, on all gateways",
		Long: "Make a limit whole again: on the gateway that is asked at once, in Redis and on the other gateways within a second.\n" +
			"While Redis is unavailable it is whole on that gateway alone.",
	}, http.MethodPost, "/reset", func(w io.Writer, v resetView) error {
		where := "on this gateway alone: redis is unavailable, or there is none"
		if v.Redis {
			where = "on all gateways within " + v.Within
		}
		_, err := fmt.Fprintf(w, "%s is whole %s\n", v.Key, where)
		return err
	})
}
