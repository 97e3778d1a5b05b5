package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The commands of docs/troubleshoot.md, with its policy in front of the demo's backend.
func TestTroubleshootPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/troubleshoot.md")
	if err != nil {
		t.Fatal(err)
	}
	backend, end, err := startBackend(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	dir := t.TempDir()
	policy := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(string(page))[1]
	writePolicy(t, filepath.Join(dir, "gateway.yaml"), strings.ReplaceAll(policy, "http://127.0.0.1:5000", backend))
	g := start(t, nil, "run", "--config", filepath.Join(dir, "gateway.yaml"))
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("http://127.0.0.1:8080", g.base, "http://127.0.0.1:9901", g.admin, "; gateway ", "; "+path+" ")
	log := filepath.Join(dir, "gateway.log")
	commands := 0
	for _, block := range consoles(string(page)) {
		commands += typed(t, block, func(line string) string {
			// A command that asks for a page and then reads the log gets the log of after that.
			ask, read, both := strings.Cut(line, "; grep ")
			if both {
				ask, read = here.Replace(ask), "grep "+read
			} else {
				ask, read = ":", here.Replace(line)
			}
			got := shell(t, dir, "cd "+dir+"; "+ask+`; echo "id='$id'" >id`)
			time.Sleep(200 * time.Millisecond) // until the lines are written
			if err := os.WriteFile(log, []byte(g.stderr.String()+g.stdout.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			return got + shell(t, dir, ". ./id; "+read)
		})
	}
	if commands != 9 {
		t.Errorf("%d commands were tried", commands)
	}
}
