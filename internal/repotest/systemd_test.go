package repotest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The units of deploy/systemd have no key that systemd does not know, and are hardened well.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Fatal("apt-get install systemd")
	}
	machine := t.TempDir() // on which they are installed
	units := filepath.Join(machine, "etc/systemd/system")
	program := filepath.Join(machine, "usr/local/bin/gateway")
	for _, dir := range []string{units, filepath.Dir(program)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	verify := []string{"verify", "--recursive-errors=no", "--man=no", "--root=" + machine}
	for name, content := range files(t) {
		if filepath.Dir(name) != "deploy/systemd" {
			continue
		}
		if err := os.WriteFile(filepath.Join(units, filepath.Base(name)), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		verify = append(verify, filepath.Base(name))
	}
	if len(verify) != 8 {
		t.Errorf("%d arguments, want four units: %v", len(verify), verify)
	}
	analyze := func(args ...string) (string, error) {
		out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
		return string(out), err
	}
	if out, err := analyze(verify...); err != nil || strings.Contains(out, "gateway") {
		t.Errorf("verify: %v\n%s", err, out)
	}
	out, err := analyze("security", "--offline=true", "--no-pager", "--root="+machine, "gateway.service")
	found := regexp.MustCompile(`exposure level for gateway.service: ([0-9.]+)`).FindStringSubmatch(out)
	if err != nil || found == nil {
		t.Fatalf("security: %v\n%s", err, out)
	}
	if score, err := strconv.ParseFloat(found[1], 64); err != nil || score >= 3 {
		t.Errorf("exposure %v, %v, want less than 3", score, err)
	}
}
