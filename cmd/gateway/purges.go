package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/policy"
)

// purgesAdmin implements the admin API's purges.
type purgesAdmin struct {
	*cache.Purges
	live *policy.Live
}

// Start implements admin.Purges.
func (a purgesAdmin) Start(ctx context.Context, selection []byte) (id string, status any, applied bool, err error) {
	var what cache.Selection
	if err := strictJSON(selection, &what); err != nil {
		return "", nil, false, fmt.Errorf("%w: want a JSON object with tags, urls, routes, groups, all, soft: %w", admin.ErrBad, err)
	}
	s, err := a.Purges.Start(ctx, a.live.Load(), what)
	if errors.Is(err, cache.ErrSelection) {
		err = adminError{err, admin.ErrBad}
	}
	return s.ID, s, s.Applied, err
}

// Status implements admin.Purges.
func (a purgesAdmin) Status(ctx context.Context, id string) (status any, applied bool) {
	if s, ok := a.Purges.Status(ctx, id); ok {
		return s, s.Applied
	}
	return nil, false
}

// List implements admin.Purges.
func (a purgesAdmin) List() any {
	return struct {
		Purges []cache.PurgeStatus `json:"purges"`
	}{a.Purges.List()}
}

func newPurge() *cobra.Command {
	var c adminClient
	var what cache.Selection
	var wait, yes bool
	var id string
	cmd := &cobra.Command{
		Use:   "purge",
		Short: "Remove responses from the cache of all gateways",
		Long: "Remove responses from the cache of all gateways that share a Redis. The purge is in force on the gateway that is\n" +
			"asked at once, on the others within a second, and on one that is cut off from Redis when it is back.\n" +
			"Exit status: 0 if it is in force here, 1 if not, 2 if the command line is wrong.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			some := what.All || len(what.Tags)+len(what.URLs)+len(what.Routes)+len(what.Groups) > 0
			if id != "" && (some || what.Soft) {
				return usage(errors.New("--status purges nothing: leave out what to purge"))
			}
			if id == "" && !some {
				return usage(errors.New("say what to purge: --tag, --url, --route, --group or --all"))
			}
			if what.All && !yes {
				if err := confirm(cmd, "Purge all responses?"); err != nil {
					return err
				}
			}
			return purge(cmd, &c, what, id, wait)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&what.Tags, "tag", nil, "purge responses with this tag (may be repeated, as the next three)")
	f.StringArrayVar(&what.URLs, "url", nil, "purge this URL with every query and variant; /PATH alone: on all hosts of server.hosts")
	f.StringArrayVar(&what.Routes, "route", nil, "purge the responses of this route")
	f.StringArrayVar(&what.Groups, "group", nil, "purge responses of this cache group (RFC 9875)")
	f.BoolVar(&what.All, "all", false, "purge everything; asks first")
	f.BoolVar(&yes, "yes", false, "do not ask")
	f.BoolVar(&what.Soft, "soft", false, "make them stale instead: they are revalidated, or served by the rules for stale responses")
	f.BoolVar(&wait, "wait", false, "return when every live gateway has it")
	f.StringVar(&id, "status", "", "purge nothing; tell how far the purge with this id has got")
	c.flags(cmd)
	return cmd
}

// purge starts a purge, or asks about the one with an id, and prints how far it has got.
func purge(cmd *cobra.Command, c *adminClient, what cache.Selection, id string, wait bool) error {
	method, path, body := http.MethodPost, "/v1/purges", any(what)
	if id != "" {
		method, path, body = http.MethodGet, "/v1/purges/"+url.PathEscape(id), nil
	}
	for {
		var s cache.PurgeStatus
		if err := c.ask(cmd.Context(), method, path, body, &s); err != nil {
			return err
		}
		switch {
		case s.Applied:
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "purge %s: applied on %s\n", s.ID, reachedText(s))
			return err
		case !wait:
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "purge %s: pending, on %s: %s\n", s.ID, reachedText(s), s.Waits)
			return err
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-time.After(time.Second):
		}
		method, path, body = http.MethodGet, "/v1/purges/"+s.ID, nil
	}
}

func reachedText(s cache.PurgeStatus) string {
	switch {
	case s.Gateways == 0 && s.Applied:
		return "every gateway"
	case s.Gateways == 0:
		return "this gateway"
	}
	return fmt.Sprintf("%d of %d gateways", s.Reached, s.Gateways)
}
