// Package testenv starts real servers for tests: a redis-server that can be
// killed, frozen and brought back, and the Flask example under gunicorn. It
// is used by tests alone. Every server listens on loopback, belongs to one
// test, and ends with it, also when the test binary dies.
package testenv
