package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/policy"
)

// listTime bounds a search for sessions.
const listTime = 5 * time.Second

// sessionsAdmin implements the admin API's sessions.
type sessionsAdmin struct {
	*session.Failover
	cache *cache.Cache
	live  *policy.Live
}

// List implements admin.Sessions.
func (a sessionsAdmin) List(ctx context.Context, user string, here bool) (any, error) {
	if here {
		return a.Known(ctx, user)
	}
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	return a.Failover.List(ctx, func(l session.Listed) bool { return l.User == user })
}

// Show implements admin.Sessions.
func (a sessionsAdmin) Show(ctx context.Context, id string) (any, error) {
	found, err := a.find(ctx, id)
	return found, err
}

func (a sessionsAdmin) find(ctx context.Context, id string) (session.Listed, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	found, err := a.Find(ctx, id)
	if errors.Is(err, session.ErrNoSession) {
		err = adminError{err, admin.ErrUnknown}
	}
	return found, err
}

// sessionSelection says which sessions to end. Exactly one member is set.
type sessionSelection struct {
	ID   string `json:"id,omitempty"` // or the beginning of one
	User string `json:"user,omitempty"`
	All  bool   `json:"all,omitempty"`
}

// revokedView is what a revocation did.
type revokedView struct {
	Revoked string `json:"revoked"`
	Redis   bool   `json:"redis"` // there too, and so on all gateways; false: here and at the peers that can be reached
}

// Revoke implements admin.Sessions.
func (a sessionsAdmin) Revoke(ctx context.Context, selection []byte) (any, error) {
	var what sessionSelection
	if err := strictJSON(selection, &what); err != nil {
		return nil, fmt.Errorf("%w: want a JSON object with id, user or all: %w", admin.ErrBad, err)
	}
	now, s := time.Now(), a.live.Load()
	until := session.LongestAfter(now, s.Policy.Session.Absolute.Std())
	var r session.Revocation
	var who exchange.Principal
	var v revokedView
	switch what {
	case sessionSelection{}:
		return nil, fmt.Errorf("%w: give one of id, user and all", admin.ErrBad)
	case sessionSelection{ID: what.ID}:
		found, err := a.find(ctx, what.ID)
		if err != nil {
			return nil, err
		}
		r, v.Revoked, who.SessionID = found.Revocation(), "session "+found.Key, found.SessionID()
	case sessionSelection{User: what.User}:
		r, v.Revoked = session.RevokeUser(what.User, now, until), "the sessions of "+what.User
		who.User = what.User
	case sessionSelection{All: true}:
		r, v.Revoked = session.RevokeAll(now, until), "all sessions"
	default:
		return nil, fmt.Errorf("%w: give one of id, user and all", admin.ErrBad)
	}
	if err := a.End(ctx, r); err != nil {
		return nil, fmt.Errorf("ended here, but: %w", err)
	}
	if err := a.cache.EndSessions(ctx, s, who); err != nil {
		return nil, fmt.Errorf("ended, but what is stored of them: %w", err)
	}
	v.Redis = a.Connected()
	return v, nil
}

// strictJSON reads exactly one value without unknown members.
func strictJSON(text []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

func newSessions() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "See and end sessions, of all gateways",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSessionsList(), newSessionsShow(), newSessionsRevoke())
	return cmd
}

func newSessionsList() *cobra.Command {
	var c adminClient
	var user string
	cmd := &cobra.Command{
		Use:   "list --user U",
		Short: "List the sessions of a user",
		Long: "List the sessions of a user; with --user '' those of guests. Sessions of which no gateway and no Redis has a record\n" +
			"are not listed: they live in their cookies alone, and revoke --user ends them too.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("user") {
				return usage(errors.New("say whose: --user"))
			}
			var found session.Found
			if err := c.ask(cmd.Context(), http.MethodGet, "/v1/sessions?user="+url.QueryEscape(user), nil, &found); err != nil {
				return err
			}
			t := newTable(cmd.OutOrStdout())
			_, _ = fmt.Fprintln(t, "id\tsince\tends\troles") // Flush reports errors
			for _, s := range found.Sessions {
				_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", s.Key[:16], s.Issued.Format(time.DateTime), s.Idle.Format(time.DateTime), strings.Join(s.Roles, " "))
			}
			if found.More {
				_, _ = fmt.Fprintln(t, "there are more")
			}
			if found.Error != "" {
				_, _ = fmt.Fprintln(t, "redis was not searched, these are the ones that this gateway knows: "+found.Error)
			}
			return t.Flush()
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "the user, as the backend names it")
	c.flags(cmd)
	return cmd
}

func newSessionsShow() *cobra.Command {
	var c adminClient
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a session, by the beginning of its ID in a list or a log",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var s session.Listed
			if err := c.ask(cmd.Context(), http.MethodGet, "/v1/sessions/"+url.PathEscape(args[0]), nil, &s); err != nil {
				return err
			}
			t := newTable(cmd.OutOrStdout())
			for _, row := range [][2]string{
				{"id", s.Key},
				{"user", s.User},
				{"roles", strings.Join(s.Roles, " ")},
				{"since", s.Issued.Format(time.DateTime)},
				{"ends unused", s.Idle.Format(time.DateTime)},
				{"ends", s.Absolute.Format(time.DateTime)},
				{"values", strings.Join(s.Values, " ")},
				{"cookies", strings.Join(s.Cookies, " ")},
			} {
				if row[1] != "" {
					_, _ = fmt.Fprintf(t, "%s\t%s\n", row[0], row[1]) // Flush reports errors
				}
			}
			return t.Flush()
		},
	}
	c.flags(cmd)
	return cmd
}

func newSessionsRevoke() *cobra.Command {
	var c adminClient
	var what sessionSelection
	var yes bool
	cmd := &cobra.Command{
		Use:   "revoke [ID]",
		Short: "End a session, or all of a user, or all",
		Long: "End a session by the beginning of its ID, all sessions of a user, or all. It is like a logout: in force at once on the\n" +
			"gateway that is asked, kept on its disk, and on the others within a second.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				what.ID = args[0]
			}
			if what.All && !yes {
				if err := confirm(cmd, "Sign everyone out?"); err != nil {
					return err
				}
			}
			var v revokedView
			if err := c.ask(cmd.Context(), http.MethodPost, "/v1/sessions/revoke", what, &v); err != nil {
				return err
			}
			where := "on all gateways"
			if !v.Redis {
				where = "on this gateway and the peers that answer; on the others when redis is back"
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s ended %s\n", v.Revoked, where)
			return err
		},
	}
	cmd.Flags().StringVar(&what.User, "user", "", "end all sessions of this user")
	cmd.Flags().BoolVar(&what.All, "all", false, "end all sessions; asks first")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.flags(cmd)
	return cmd
}
