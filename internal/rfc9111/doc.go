// Package rfc9111 holds the decisions of an HTTP cache as pure functions: may a response be stored,
// how long is it fresh, may it be used for a request, how is it validated and updated, and what
// does a write invalidate. They follow RFC 9111 and, for serving stale responses, RFC 5861; each
// cites its section.
//
// The package has no state and no clock, and does no I/O. Policies beyond the standard, storage and
// transport are left to middleware/cache.
package rfc9111

// Fields gives access to a message's header fields; http.Header implements it.
type Fields interface {
	// Values returns all values of the field, in order. The name is canonical.
	Values(name string) []string
}
