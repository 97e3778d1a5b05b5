// Package rfc9111 holds the decisions of an HTTP cache as pure functions: may a
// response be stored, how long is it fresh, may it be used for a request, how
// is it validated and updated, what does a write invalidate. They follow
// RFC 9111 and, for serving stale, RFC 5861; each cites its section.
//
// The package has no state, no clock and does no I/O. What a policy adds to the
// standard, where responses are kept and how they travel is left to
// middleware/cache.
package rfc9111

// Fields gives a message's header fields; http.Header is one.
type Fields interface {
	// Values returns all values of the field, in order. The name is canonical.
	Values(name string) []string
}
