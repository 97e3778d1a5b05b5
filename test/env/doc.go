// Package env starts real servers for tests and drills: a redis-server that can
// be killed, frozen and brought back, with TLS or without, three Sentinels over a
// primary and its replicas, a cluster of three, and the Flask example under
// gunicorn. Beside them it has what tests that wait need: Eventually, and a clock
// that they move. Every server listens on loopback, or in a network namespace, belongs
// to one test or drill, and ends with it, also when that process dies.
package env

// T is what a server needs of its test. *testing.T is one.
type T interface {
	Helper()
	Cleanup(end func())
	TempDir() string
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any) // does not return
	Fatalf(format string, args ...any)
}

// must gives a function that returns v, or ends the test with err.
func must[V any](v V, err error) func(T) V {
	return func(t T) V {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
