package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/jewgo/gateway/internal/problem"
)

// The errors of Limits for requests that cannot be answered.
var (
	ErrUnknownLimit = errors.New("there is no such limit")
	ErrLimitKey     = errors.New("bad key")
)

// Limits is what an operator may do with rate limits. Results are encoded as JSON; ctx bounds the
// time. A key is given by its parts, as in the policy.
type Limits interface {
	// List returns the limits and the keys charged most.
	List() any
	// Bucket returns the state of a key's bucket, here and in Redis.
	Bucket(ctx context.Context, limit string, key []string) (any, error)
	// Reset fills a key's bucket on all gateways that can be reached, and returns which those are.
	Reset(ctx context.Context, limit string, key []string) (any, error)
}

func (c *Config) limits(w http.ResponseWriter, _ *http.Request) {
	document(w, http.StatusOK, c.Limits.List())
}

func (c *Config) limit(w http.ResponseWriter, r *http.Request) { c.ofLimit(w, r, c.Limits.Bucket) }

func (c *Config) resetLimit(w http.ResponseWriter, r *http.Request) { c.ofLimit(w, r, c.Limits.Reset) }

func (c *Config) ofLimit(w http.ResponseWriter, r *http.Request, ask func(context.Context, string, []string) (any, error)) {
	answer, err := ask(r.Context(), r.PathValue("name"), r.URL.Query()["key"])
	switch {
	case errors.Is(err, ErrUnknownLimit):
		problem.Write(w, problem.Problem{Status: http.StatusNotFound, Detail: err.Error()})
	case errors.Is(err, ErrLimitKey):
		problem.Write(w, problem.Problem{Status: http.StatusBadRequest, Detail: err.Error() + "; give ?key=, once for each part of it"})
	case err != nil:
		problem.Write(w, problem.Problem{Status: http.StatusServiceUnavailable, Detail: err.Error()})
	default:
		document(w, http.StatusOK, answer)
	}
}
