// Package env starts real servers for tests: a redis-server that can be
// killed, frozen and brought back, with TLS or without, three Sentinels over a
// primary and its replicas, a cluster of three, and the Flask example under
// gunicorn. It is used by tests alone. Every server listens on loopback, or in a
// network namespace, belongs to one test, and ends with it, also when the test
// binary dies.
package env
