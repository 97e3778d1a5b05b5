package admin

import (
	"context"
	"net/http"

	"github.com/jewgo/gateway/internal/problem"
)

// Sessions is what an operator may do with sessions. Results are encoded as JSON; ctx bounds the
// time.
type Sessions interface {
	// List returns the sessions of a user; "": of guests. With here, those that this gateway knows.
	List(ctx context.Context, user string, here bool) (any, error)
	// Show returns the session whose ID begins with that.
	Show(ctx context.Context, id string) (any, error)
	// Revoke ends the sessions that selection, a JSON object, names.
	Revoke(ctx context.Context, selection []byte) (any, error)
}

func (c *Config) listSessions(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if !query.Has("user") {
		problem.Write(w, problem.Problem{Status: http.StatusBadRequest, Detail: "give ?user=, empty for guests"})
		return
	}
	found, err := c.Sessions.List(r.Context(), query.Get("user"), here(r))
	answered(w, found, err)
}

func (c *Config) showSession(w http.ResponseWriter, r *http.Request) {
	found, err := c.Sessions.Show(r.Context(), r.PathValue("id"))
	answered(w, found, err)
}

func (c *Config) revokeSessions(w http.ResponseWriter, r *http.Request) {
	selection, ok := readSelection(w, r, maxSelection)
	if !ok {
		return
	}
	done, err := c.Sessions.Revoke(r.Context(), selection)
	answered(w, done, err)
}
