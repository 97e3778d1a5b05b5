// Package env starts real servers for tests and drills: a redis-server that can be killed, frozen and
// restarted, with or without TLS; three Sentinels with a primary and its replicas; a cluster of three
// primaries; and the Flask example under gunicorn. It also helps tests that wait: Eventually, and a
// manual clock. Every server listens on loopback or in a network namespace, belongs to one test or
// drill, and ends with it, even if that process dies.
package env

// T is the part of *testing.T that servers need.
type T interface {
	Helper()
	Cleanup(end func())
	TempDir() string
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any) // does not return
	Fatalf(format string, args ...any)
}

// must returns a function that returns v, or ends the test with err.
func must[V any](v V, err error) func(T) V {
	return func(t T) V {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
