// Package memory holds the local stores. The gateway uses them when no Redis is configured, and
// while Redis is unavailable. Every store is bounded, and implements the same interface as its
// Redis counterpart; both pass the same conformance suite.
package memory
