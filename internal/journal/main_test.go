package journal

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const holdDir = "JOURNAL_TEST_HOLD"

// TestMain also runs the other process of TestTwoProcesses.
func TestMain(m *testing.M) {
	if dir := os.Getenv(holdDir); dir != "" {
		hold(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func hold(dir string) {
	_, err := Open(Config{Dir: dir})
	fmt.Println("held", err)
	_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin)) // until it is killed or the parent dies
}

// epoch is the time at which the tests run.
var epoch = time.Date(2025, time.September, 10, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) func() time.Time { return func() time.Time { return epoch.Add(d) } }

func rec(key string, version uint64) Record {
	return Record{Kind: "session", Key: key, Version: version, Value: fmt.Appendf(nil, "value of %s", key), Expires: epoch.Add(time.Hour)}
}
