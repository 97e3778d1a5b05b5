package redisdb

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The numbers of this package in docs/failover.md are those of the code.
func TestTimesInDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/failover.md")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("| `redisdb.rejoinAhead` | %d ms |", rejoinAhead.Milliseconds()),
		fmt.Sprintf("| `redisdb.rejoinLinger` | %d ms |", rejoinLinger.Milliseconds()),
		fmt.Sprintf("| `redisdb.epochTTL` | %.0f h |", epochTTL.Hours()),
	}
	for _, row := range want {
		if !strings.Contains(string(text), "\n"+row) {
			t.Errorf("docs/failover.md lacks %s", row)
		}
	}
	if n := strings.Count(string(text), "\n| `redisdb."); n != len(want) {
		t.Errorf("docs/failover.md has %d times of this package, the code %d", n, len(want))
	}
}
