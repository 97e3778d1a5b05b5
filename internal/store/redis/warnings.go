package redis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	// fullShare is the used share of memory above which a server is nearly full.
	fullShare = 0.9
	// maxWarnings bounds the warnings of a large cluster.
	maxWarnings = 20
)

// oldest is the oldest Redis that the gateway is made for.
var oldest = [2]int{6, 2}

// Warnings lists, for people, the problems that a working Redis will cause one day; nil if there
// are none. sessions says that sessions and limits are stored there, and not only responses, which
// may be lost at any time. docs/redis.md says what to do about each. Unknown facts cause no
// warnings.
func Warnings(info Info, sessions bool) []string {
	var all []string
	for _, s := range info.Servers {
		for _, w := range s.warnings(sessions) {
			if len(info.Servers) > 1 {
				w += " (" + s.Address + ")"
			}
			all = append(all, w)
		}
	}
	if more := len(all) - maxWarnings; more > 0 {
		all = append(slices.Clip(all[:maxWarnings]), fmt.Sprintf("and %d more", more))
	}
	return all
}

func (s Server) warnings(sessions bool) (list []string) {
	if s.Error != "" {
		return []string{"it does not answer: " + s.Error}
	}
	warn := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if s.Role == "slave" {
		kind := "writable replica"
		if s.ReadOnly {
			kind = "read-only replica"
		}
		warn("the server is a %s: writes belong to its primary", kind)
	}
	if older(s.Version) {
		warn("Redis %s is older than %d.%d", s.Version, oldest[0], oldest[1])
	}
	if m := s.Memory; m != nil {
		// volatile-… policies spare keys that never expire, but the gateway has none.
		if sessions && m.Policy != "" && m.Policy != "noeviction" {
			warn("maxmemory-policy %s evicts sessions and limits as it does responses", m.Policy)
		}
		if m.MaxBytes > 0 && float64(m.UsedBytes) > fullShare*float64(m.MaxBytes) {
			warn("memory is at %d %% of its limit of %d bytes", m.UsedBytes*100/m.MaxBytes, m.MaxBytes)
		}
	}
	if p := s.Persistence; p != nil {
		if sessions && !p.AOF && p.RDB != nil && !*p.RDB {
			warn("no persistence: a restart forgets sessions and limits")
		}
		if p.RDBLastStatus == "err" {
			warn("the last RDB save failed")
		}
		if p.AOF && p.AOFLastWrite == "err" {
			warn("the last write of the AOF failed")
		}
	}
	return list
}

// older reports whether a version is known and older than oldest.
func older(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	return errA == nil && errB == nil && slices.Compare([]int{a, b}, oldest[:]) < 0
}
