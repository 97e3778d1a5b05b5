package field

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc, which Linux fixes at 10 ms for programs.
const tick = 10 * time.Millisecond

// tree returns a process and its descendants.
func tree(root int) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, file := range files {
		pid, err1 := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		fields, err2 := stat(pid)
		if errors.Join(err1, err2) != nil {
			continue // it has ended
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}

// stat returns the fields of /proc/PID/stat that follow the name, which may contain spaces.
func stat(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 13 {
		return nil, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	return fields, nil
}

// cpuTime is what a process and its descendants have spent in user and system mode.
func cpuTime(root int) (total time.Duration, err error) {
	pids, err := tree(root)
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		fields, err := stat(pid)
		if err != nil {
			return 0, err
		}
		for _, field := range fields[11:13] {
			ticks, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, err
			}
			total += time.Duration(ticks) * tick
		}
	}
	return total, nil
}

// peakMemory is the sum of the largest resident sets of a process and its descendants, in bytes. Memory
// that they share counts for each.
func peakMemory(root int) (total int64, err error) {
	pids, err := tree(root)
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(procField(string(b), "VmHWM"), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("VmHWM of %d: %w", pid, err)
		}
		total += kib << 10
	}
	return total, nil
}

// procField returns the value of the first "name: value" in a file of /proc.
func procField(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
