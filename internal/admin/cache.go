package admin

import (
	"context"
	"net/http"
)

// Cache is what an operator may see of the cache. Results are encoded as JSON; ctx bounds the time.
// With here, Redis is not asked.
type Cache interface {
	// View returns the state of the cache.
	View(ctx context.Context, here bool) any
	// Find returns what is stored of a URL.
	Find(ctx context.Context, url string, here bool) (any, error)
}

// here reports whether a request asks for what this gateway knows by itself.
func here(r *http.Request) bool { return r.URL.Query().Get("here") == "true" }

func (c *Config) cache(w http.ResponseWriter, r *http.Request) {
	document(w, http.StatusOK, c.Cache.View(r.Context(), here(r)))
}

func (c *Config) entries(w http.ResponseWriter, r *http.Request) {
	found, err := c.Cache.Find(r.Context(), r.URL.Query().Get("url"), here(r))
	answered(w, found, err)
}
