package field

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Report is the result with its circumstances.
type Report struct {
	Command string    `json:"command"`
	Date    string    `json:"date"`
	Commit  string    `json:"commit"`
	Round   string    `json:"round"`
	Rounds  int       `json:"rounds"`
	Machine Machine   `json:"machine"`
	Version []Version `json:"versions"`
	Tables  []Table   `json:"tables"`
}

// Machine is where it was measured.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
}

// Version is what a program says about itself.
type Version struct {
	Program string `json:"program"`
	Version string `json:"version"` // "": not installed
}

// NewReport adds to the tables what should be known about them.
func NewReport(ctx context.Context, cfg Config, command string, tables []Table) Report {
	return Report{
		Command: command, Date: time.Now().UTC().Format(time.DateOnly), Commit: commit(ctx), Round: cfg.Round.String(), Rounds: cfg.Rounds,
		Machine: machine(), Version: versions(ctx, cfg.Gateway), Tables: tables,
	}
}

// machine reads what /proc says; what it does not is unknown.
func machine() Machine {
	m := Machine{CPU: "unknown", Cores: runtime.NumCPU(), Memory: "unknown", Kernel: "unknown"}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = procField(string(b), "model name")
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		if kib, err := strconv.ParseFloat(strings.TrimSuffix(procField(string(b), "MemTotal"), " kB"), 64); err == nil {
			m.Memory = fmt.Sprintf("%.1f GiB", kib/(1<<20))
		}
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	return m
}

// commit is what this program was built from, if the build recorded it, and otherwise what Git says about
// the working directory.
func commit(ctx context.Context) string {
	settings := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
	}
	revision, changed := settings["vcs.revision"], settings["vcs.modified"] == "true"
	if revision == "" {
		head, err := exec.CommandContext(ctx, "git", "rev-parse", "HEAD").Output()
		if err != nil {
			return "unknown"
		}
		diff, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--untracked-files=no").Output()
		revision, changed = strings.TrimSpace(string(head)), err != nil || len(diff) > 0
	}
	if changed {
		revision += ", with changes"
	}
	return revision
}

// versions asks every program.
func versions(ctx context.Context, gateway string) []Version {
	all := []Version{{Program: "Go", Version: runtime.Version()}}
	for _, p := range []struct{ name, program, flag string }{
		{"gateway", gateway, "version"},
		{"nginx", "nginx", "-v"},
		{"HAProxy", "haproxy", "-v"},
		{"Varnish", "varnishd", "-V"},
		{"Caddy", "caddy", "version"},
		{"Redis", "redis-server", "--version"},
		{"wrk", "wrk", "-v"},
	} {
		all = append(all, Version{p.name, version(ctx, p.program, p.flag)})
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if strings.HasPrefix(m.Path, "github.com/tsenart/vegeta/") {
				all = append(all, Version{"vegeta", m.Version})
			}
		}
	}
	return all
}

// version is the first line of what a program prints, "" if it is not installed. wrk exits with 1.
func version(ctx context.Context, program, flag string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, program, flag).CombinedOutput() // as above
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// servers are the names of all servers that played, in the order of the tables.
func (r Report) servers() (names []string) {
	for _, t := range r.Tables {
		for _, row := range t.Rows {
			if !slices.Contains(names, row.Server) {
				names = append(names, row.Server)
			}
		}
	}
	return names
}
