package peers

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jewgo/gateway/internal/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// epoch is the time at which the tests run.
var epoch = time.Date(2025, time.September, 10, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) func() time.Time { return func() time.Time { return epoch.Add(d) } }

func rec(key string, version uint64) journal.Record {
	return journal.Record{Kind: "session", Key: key, Version: version, Value: fmt.Appendf(nil, "value of %s", key), Expires: epoch.Add(time.Hour)}
}

func same(a, b journal.Record) bool {
	return a.Kind == b.Kind && a.Key == b.Key && a.Version == b.Version && a.Expires.Equal(b.Expires) && bytes.Equal(a.Value, b.Value)
}

func open(t testing.TB) *journal.Journal {
	t.Helper()
	j, err := journal.Open(journal.Config{Dir: t.TempDir(), Now: at(0), Retry: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func appendAll(t testing.TB, j *journal.Journal, records ...journal.Record) {
	t.Helper()
	if err := j.Append(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
}

func wantKeys(t testing.TB, j *journal.Journal, keys ...string) {
	t.Helper()
	got := keysOf(j.Records())
	ok := len(got) == len(keys)
	for _, k := range keys {
		ok = ok && got[k]
	}
	if !ok {
		t.Errorf("records %v, want %v", got, keys)
	}
}

func keysOf(records []journal.Record) map[string]bool {
	keys := map[string]bool{}
	for _, r := range records {
		keys[r.Key] = true
	}
	return keys
}
