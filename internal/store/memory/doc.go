// Package memory holds the local stores: what the gateway keeps for itself when
// no Redis is configured, and what it answers from when Redis is away. Every
// store is bounded, and each implements the same interface, held by the same
// conformance suite, as its counterpart for Redis.
package memory
