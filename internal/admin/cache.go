package admin

import (
	"context"
	"net/http"
)

// Cache is what an operator may see of the cache. Results are encoded as JSON; ctx bounds the time.
type Cache interface {
	// View returns the state of the cache.
	View(ctx context.Context) any
	// Find returns what is stored of a URL.
	Find(ctx context.Context, url string) (any, error)
}

func (c *Config) cache(w http.ResponseWriter, r *http.Request) {
	document(w, http.StatusOK, c.Cache.View(r.Context()))
}

func (c *Config) entries(w http.ResponseWriter, r *http.Request) {
	found, err := c.Cache.Find(r.Context(), r.URL.Query().Get("url"))
	answered(w, found, err)
}
