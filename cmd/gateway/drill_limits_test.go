package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/jewgo/gateway/test/drill"
)

// Builds that let too much through fail the drill.
func TestDrillLimitsFailsABrokenBuild(t *testing.T) {
	for _, tc := range []struct {
		sentence string
		file     string // from the repository's root
		old, new string // old stands there once
	}{
		{
			"each gateway has the whole limit while Redis is away", "middleware/ratelimit/limiter.go",
			"b.Alone(c.Quota, now, c.Cost, n)", "b.Alone(c.Quota, now, c.Cost, min(n, 1))",
		},
		{
			"what was admitted alone is brought to nobody", "middleware/ratelimit/settle.go",
			"	whole, err := l.cfg.Remote.Settle(ctx, batch)\n", "	var err error\n	whole, _ := l.cfg.Remote.Settle(ctx, nil)\n	for len(whole) < len(batch) {\n		whole = append(whole, 0)\n	}\n",
		},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			t.Parallel()
			gateway := buildWith(t, tc.file, []string{tc.old, tc.new})
			var stderr bytes.Buffer
			cmd := exec.Command(gateway, "drill", "limits", "--for", "12s", "--seed", "1", "--json", "-")
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			var report drill.LimitsReport
			if json.Unmarshal(out, &report) != nil || len(report.Faults) < 2 || len(report.Rows) != 8 {
				t.Fatalf("%v\n%s\n%s", err, out, stderr.String())
			}
			if err == nil || report.Passed || !strings.Contains(string(out), "tokens beyond the bound") {
				t.Errorf("%v\n%s\n%s", err, out, stderr.String())
			}
		})
	}
}

func TestDrillLimitsRefuses(t *testing.T) {
	for _, tc := range []struct {
		sentence string
		args     []string
		stderr   string
	}{
		{"a time out of bounds", []string{"--for", "1s"}, "want --for from 5s to 10m"},
		{"a file that cannot be written", []string{"--json", t.TempDir()}, "is a directory"},
		{"arguments", []string{"now"}, "unknown command"},
	} {
		var stdout, stderr bytes.Buffer
		if code := execute(append([]string{"drill", "limits"}, tc.args...), &stdout, &stderr); code != exitUsage || !strings.Contains(stderr.String(), tc.stderr) {
			t.Errorf("%s: exit status %d: %s", tc.sentence, code, stderr.String())
		}
	}
}
