package main

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// containerShare is the share of a container's memory that Go may use.
	containerShare = 0.9
	// memoryRest is what Go may take beside cache.memory, as long as nothing else bounds it and what is in use leaves
	// room for garbage. The program itself comes on top: the process takes at most 96 MiB beside cache.memory.
	memoryRest = 80 << 20
	// collectAt is the garbage that may gather before it is collected, in percent of what is in use. Go's own 100 would
	// collect the few megabytes of a gateway dozens of times a second.
	collectAt = 400
)

// garbage decides how much of it may gather. Where neither GOMEMLIMIT nor a container bounds the memory, bound does, by
// cache.memory. That is no reason to refuse anything: where more is in use, Go's usual rules apply.
type garbage struct {
	bound   int64 // 0: another limit applies
	relaxed bool
}

// boundGarbage sets Go's limit of memory, and how often garbage is collected unless GOGC says it.
func boundGarbage(cache int64, log *slog.Logger) *garbage {
	if _, err := memlimit.SetGoMemLimitWithOpts(memlimit.WithRatio(containerShare), memlimit.WithProvider(memlimit.FromCgroup)); err != nil {
		log.Debug("no container limits memory", "error", err.Error())
	}
	if os.Getenv("GOGC") != "" {
		return &garbage{}
	}
	debug.SetGCPercent(collectAt)
	if os.Getenv("GOMEMLIMIT") != "" || debug.SetMemoryLimit(-1) != math.MaxInt64 { // it may be off
		return &garbage{}
	}
	g := &garbage{bound: cache + memoryRest}
	debug.SetMemoryLimit(g.bound)
	return g
}

// look is told what is in use.
func (g *garbage) look(used int64) {
	if g.bound == 0 || g.relaxes(used) == g.relaxed {
		return
	}
	if g.relaxed = !g.relaxed; g.relaxed {
		debug.SetMemoryLimit(math.MaxInt64)
		debug.SetGCPercent(100)
	} else {
		debug.SetGCPercent(collectAt)
		debug.SetMemoryLimit(g.bound)
	}
}

// relaxes reports whether the bound is not to apply. Close to its limit Go would collect all the time, so there is none
// from three quarters on, until half of it is free.
func (g *garbage) relaxes(used int64) bool {
	if g.relaxed {
		return used >= g.bound/2
	}
	return used > g.bound/4*3
}
