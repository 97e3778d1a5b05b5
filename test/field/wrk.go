package field

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// load is what wrk reports.
type load struct {
	requests, failed int // failed: not 2xx or 3xx
	seconds          float64
}

var (
	wrkTotal  = regexp.MustCompile(`(?m)^\s*(\d+) requests in ([\d.]+)(ms|s|m|h),`)
	wrkFailed = regexp.MustCompile(`(?m)^\s*Non-2xx or 3xx responses: (\d+)`)
	wrkErrors = regexp.MustCompile(`(?m)^\s*Socket errors: .*`)
)

// runWrk sends requests by 16 connections for some time, which wrk takes in whole seconds. script may be "".
func runWrk(ctx context.Context, url, script, run string, round time.Duration) (load, error) {
	seconds := int(math.Ceil(round.Seconds()))
	args := []string{"-t2", "-c16", fmt.Sprintf("-d%ds", seconds)}
	if script != "" {
		args = append(args, "-s", script, url, "--", run)
	} else {
		args = append(args, url)
	}
	ctx, cancel := context.WithTimeout(ctx, round+time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "wrk", args...).CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk %s: %w\n%s", url, err, out)
	}
	return parseWrk(string(out))
}

// parseWrk reads wrk's output. A failed connection is an error.
func parseWrk(out string) (l load, err error) {
	total := wrkTotal.FindStringSubmatch(out)
	if total == nil {
		return l, errors.New("not wrk's output: " + strconv.Quote(out))
	}
	if broken := wrkErrors.FindString(out); broken != "" {
		return l, errors.New("wrk: " + broken)
	}
	took, err := time.ParseDuration(total[2] + total[3])
	if err != nil {
		return l, err
	}
	if l.requests, err = strconv.Atoi(total[1]); err != nil {
		return l, err
	}
	if failed := wrkFailed.FindStringSubmatch(out); failed != nil {
		if l.failed, err = strconv.Atoi(failed[1]); err != nil {
			return l, err
		}
	}
	if l.requests == 0 || took == 0 {
		return l, errors.New("wrk got no answer")
	}
	l.seconds = took.Seconds()
	return l, nil
}

// spare is how many requests of a run a limit may let through: that of nginx cannot be slower than one
// a minute.
const spare = 5

// check fails unless all responses were as the status is.
func (l load) check(status int) error {
	switch {
	case status < 400 && l.failed > 0:
		return fmt.Errorf("%d of %d requests failed", l.failed, l.requests)
	case status >= 400 && l.failed < l.requests-spare:
		return fmt.Errorf("%d of %d requests did not fail", l.requests-l.failed, l.requests)
	}
	return nil
}
