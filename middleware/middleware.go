// Package middleware holds what every request passes before it is limited,
// cached or forwarded: Observe (request ID, access log, metrics, panics), CORS,
// Hygiene (what is refused before routing, and the one canonical form of a
// request) and Route. Each layer annotates the request's exchange.Exchange;
// the packages below this one hold the layers with state.
package middleware

import (
	"net/http"
	"slices"
)

// Middleware wraps a handler.
type Middleware func(http.Handler) http.Handler

// Chain wraps h in layers, the first of which is outermost.
func Chain(h http.Handler, layers ...Middleware) http.Handler {
	for _, layer := range slices.Backward(layers) {
		h = layer(h)
	}
	return h
}
