package admin

import (
	"context"
	"net/http"
	"strings"
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

func (c *Config) resetLimit(w http.ResponseWriter, r *http.Request) {
	audit(w, r.PathValue("name")+" "+strings.Join(r.URL.Query()["key"], " "))
	c.ofLimit(w, r, c.Limits.Reset)
}

func (c *Config) ofLimit(w http.ResponseWriter, r *http.Request, ask func(context.Context, string, []string) (any, error)) {
	answer, err := ask(r.Context(), r.PathValue("name"), r.URL.Query()["key"])
	answered(w, answer, err)
}
