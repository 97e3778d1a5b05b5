// Package middleware has the layers that every request passes before limits, cache and proxy:
// Observe (request ID, access log, metrics, panics), CORS, Hygiene (what is refused before routing,
// and the canonical form of a request) and Route. Each layer annotates the request's
// exchange.Exchange; the packages below this one have the layers with state.
package middleware

import (
	"net/http"
	"slices"
)

// Middleware wraps a handler.
type Middleware func(http.Handler) http.Handler

// Chain wraps h in layers; the first one is outermost.
func Chain(h http.Handler, layers ...Middleware) http.Handler {
	for _, layer := range slices.Backward(layers) {
		h = layer(h)
	}
	return h
}
