package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/starter"
	"github.com/jewgo/gateway/policy"
)

// initTime bounds `gateway init`, however many pages are named.
const initTime = time.Minute

func newInit() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "init --to URL [PATH...]",
		Short: "Print a commented policy for a backend, to start from",
		Long: "Print a commented policy for a backend, to start from. The backend is asked for its health check, for the\n" +
			"cookies that it sets, and for the cache headers of each PATH, such as '/restaurants?limit=50', which gets\n" +
			"a route of its own. A backend that does not answer is no obstacle: the policy says so.",
		Example: "  gateway init --to http://127.0.0.1:5000 '/restaurants?limit=50' >gateway.yaml\n" +
			"  gateway validate gateway.yaml\n" +
			"  gateway run --config gateway.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			base, err := backendURL(to)
			if err != nil {
				return usage(err)
			}
			pages, err := pagesOf(base, args)
			if err != nil {
				return usage(err)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), initTime)
			defer cancel()
			b := starter.Look(ctx, starter.Client(), base, pages)
			text := b.Policy(time.Now())
			if _, err := policy.Parse("gateway.yaml", text, func(string) string { return "" }); err != nil {
				return fmt.Errorf("no valid policy can be written for these paths: %w", err)
			}
			if _, err := cmd.OutOrStdout().Write(text); err != nil {
				return err
			}
			if b.Problem != "" {
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "gateway: %s did not answer, so the policy says little of it: %s\n", to, b.Problem) // a terminal that is gone cannot be told
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the backend's URL")
	return cmd
}

// backendURL checks the URL of a backend on the command line: that of a target of an upstream.
func backendURL(to string) (*url.URL, error) {
	u, err := url.Parse(to)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("--to %q: want a URL such as http://127.0.0.1:5000", to)
	}
	if u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("--to %q: want scheme, host and port alone, as in %s://%s", to, u.Scheme, u.Host)
	}
	u.Path = ""
	return u, nil
}

// pagesOf reads paths, or URLs at base, as they are relative to base.
func pagesOf(base *url.URL, args []string) (pages []*url.URL, err error) {
	for _, arg := range args {
		u, err := url.Parse(arg)
		switch {
		case err != nil:
			if outer, ok := errors.AsType[*url.Error](err); ok {
				err = outer.Err
			}
			return nil, fmt.Errorf("path %q: %w", arg, err)
		case u.Host != "" && (u.Host != base.Host || u.Scheme != base.Scheme):
			return nil, fmt.Errorf("path %q: it is not of %s", arg, base)
		case !strings.HasPrefix(u.Path, "/"):
			return nil, fmt.Errorf("path %q: want one that begins with /, such as /restaurants?limit=50", arg)
		}
		pages = append(pages, &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery})
	}
	return pages, nil
}
