package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/admin/dashboard"
	"github.com/jewgo/gateway/internal/problem"
)

// Purges is what an operator may do to the cache. Results are encoded as JSON; ctx bounds the time.
type Purges interface {
	// Start purges what selection, a JSON object, names, and returns the purge's ID and status. An
	// error that does not wrap ErrBad comes with a purge that is in force here.
	Start(ctx context.Context, selection []byte) (id string, status any, applied bool, err error)
	// Status returns the status of a purge; nil: there is none with this ID.
	Status(ctx context.Context, id string) (status any, applied bool)
	// List returns the last purges.
	List() any
}

const (
	// maxSelection bounds the body that selects what is purged, in bytes.
	maxSelection = 64 << 10
	// A purge is looked at each purgePoll until all gateways have it, for defaultWait unless the
	// request says another time, at most maxWait.
	purgePoll, defaultWait, maxWait = 100 * time.Millisecond, 2 * time.Second, 20 * time.Second
)

func (c *Config) purges(w http.ResponseWriter, _ *http.Request) {
	document(w, http.StatusOK, c.Purges.List())
}

func (c *Config) purge(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	status, applied := c.Purges.Status(r.Context(), id)
	if status == nil {
		problem.Write(w, problem.Problem{Status: http.StatusNotFound, Detail: "no purge " + id + ": a gateway remembers its own last 1000, until it restarts"})
		return
	}
	purged(w, status, applied)
}

// startPurge answers when every gateway has the purge or the time to wait is over.
func (c *Config) startPurge(w http.ResponseWriter, r *http.Request) {
	wait := defaultWait
	if text := r.URL.Query().Get("wait"); text != "" {
		var err error
		if wait, err = time.ParseDuration(text); err != nil || wait < 0 || wait > maxWait {
			problem.Write(w, problem.Problem{Status: http.StatusBadRequest, Detail: "wait must be a time from 0s to 20s"})
			return
		}
	}
	selection, ok := readSelection(w, r, maxSelection)
	if !ok {
		return
	}
	id, status, applied, err := c.Purges.Start(r.Context(), selection)
	switch {
	case errors.Is(err, ErrBad):
		answered(w, nil, err)
		return
	case err != nil:
		problem.Write(w, problem.Problem{Status: http.StatusInternalServerError, Detail: "in force on this gateway as purge " + id + ", but not safe: " + err.Error()})
		return
	}
	w.Header().Set("Location", "/v1/purges/"+id)
	for end := time.After(wait); !applied; {
		select {
		case <-end:
			purged(w, status, false)
			return
		case <-r.Context().Done():
			return
		case <-time.After(purgePoll):
			if now, done := c.Purges.Status(r.Context(), id); now != nil {
				status, applied = now, done
			}
		}
	}
	purged(w, status, true)
}

// readSelection reads what a change is for, and puts it into the audit line; false: it is too large,
// which has been answered.
func readSelection(w http.ResponseWriter, r *http.Request, most int64) (selection []byte, ok bool) {
	selection, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		problem.Write(w, problem.Problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the selection has more than %d KiB", most>>10)})
		return nil, false
	}
	audit(w, string(selection))
	return selection, true
}

// purged answers 200 if every gateway has the purge, else 202.
func purged(w http.ResponseWriter, status any, applied bool) {
	code := http.StatusOK
	if !applied {
		code = http.StatusAccepted
	}
	document(w, code, status)
}

// audited is the writer of a change, for its line in the log.
type audited struct {
	http.ResponseWriter
	status int
	what   string
}

// Unwrap is for http.ResponseController.
func (a *audited) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (a *audited) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// audit says what a change is about, for its line in the log.
func audit(w http.ResponseWriter, what string) {
	if a, ok := w.(dashboard.Noter); ok {
		a.Note(what)
	}
}

// Note implements dashboard.Noter.
func (a *audited) Note(what string) {
	const most = 300
	a.what = strings.Join(strings.Fields(what[:min(len(what), most)]), " ")
}
