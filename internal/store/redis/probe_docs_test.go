package redis

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The numbers of this package in docs/how-it-works/failover.md equal those in the code.
func TestTimesInDocs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/how-it-works/failover.md")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("| `redis.rejoinAhead` | %d ms |", rejoinAhead.Milliseconds()),
		fmt.Sprintf("| `redis.rejoinLinger` | %d ms |", rejoinLinger.Milliseconds()),
		fmt.Sprintf("| `redis.epochTTL` | %.0f h |", epochTTL.Hours()),
	}
	for _, row := range want {
		if !strings.Contains(string(text), "\n"+row) {
			t.Errorf("docs/how-it-works/failover.md lacks %s", row)
		}
	}
	if n := strings.Count(string(text), "\n| `redis."); n != len(want) {
		t.Errorf("docs/how-it-works/failover.md has %d times of this package, the code %d", n, len(want))
	}
}

// TestFaultsInDocs checks that every fault in docs/how-it-works/failover.md has a test in this
// package, and that every fault code has a row.
func TestFaultsInDocs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/how-it-works/failover.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "<!-- faults: begin -->")
	table, _, found := strings.Cut(rest, "<!-- faults: end -->")
	if !found {
		t.Fatal("no table of faults")
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(source)
	}
	code := regexp.MustCompile("`([^`]+)`")
	rows := strings.Split(strings.TrimSpace(table), "\n")[2:]
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		if len(cells) != 3 || !code.MatchString(cells[2]) {
			t.Errorf("not a row with a fault, a reason and a test: %s", row)
			continue
		}
		for _, test := range code.FindAllStringSubmatch(cells[2], -1) {
			if !strings.Contains(tests.String(), "\nfunc "+test[1]+"(t *testing.T) {") {
				t.Errorf("%s: there is no %s", cells[0], test[1])
			}
		}
	}
	for _, want := range faults {
		if want == "DENIED" || want == "MOVED" {
			continue // of a protected server and of a client; TestClassify covers both
		}
		if !strings.Contains(table, "`"+want+"`") {
			t.Errorf("no row has the reason %s", want)
		}
	}
}
