package policy

import "slices"

// conflicts reports routes that are never reached, and routes whose patterns
// overlap with neither being more specific, so that which of them wins would be
// a matter of order.
func (c *compiler) conflicts(routes []*Route) {
	const enough = 10 * maxErrors
	for j, later := range routes {
		if len(c.errs) > enough {
			return
		}
		if len(later.pattern.segments) == 0 {
			continue
		}
		taken := map[string]*Route{} // by method, by an earlier route with the same pattern
		for _, earlier := range routes[:j] {
			if earlier.Host != later.Host || len(earlier.pattern.segments) == 0 || contradict(earlier.header, later.header) {
				continue
			}
			paths := earlier.pattern.compare(later.pattern)
			if !paths.disjoint {
				c.compareRoutes(j, earlier, later, paths, taken)
			}
		}
		c.unreachable(j, later, taken)
	}
}

// compareRoutes reports a conflict of two routes whose paths have relation
// paths, and notes in taken what the earlier one leaves nothing of.
func (c *compiler) compareRoutes(j int, earlier, later *Route, paths relation, taken map[string]*Route) {
	at := index("routes", j) + ".match.path"
	for _, a := range earlier.specificMethods() {
		for _, b := range later.specificMethods() {
			r := paths.and(compareMethods(a, b))
			switch {
			case r.same() && implies(later.header, earlier.header):
				if taken[b] == nil {
					taken[b] = earlier
				}
			case r.overlaps() && paths.overlaps():
				c.invalid(at, "conflicts with route %q (line %d): both match some paths, and neither is more specific",
					earlier.Name, earlier.Position.Line)
				return
			case r.overlaps():
				c.invalid(at, "conflicts with route %q (line %d): one has the more specific path, the other the more specific methods",
					earlier.Name, earlier.Position.Line)
				return
			}
		}
	}
}

func (c *compiler) unreachable(j int, r *Route, taken map[string]*Route) {
	at := index("routes", j) + ".match.path"
	methods := r.specificMethods()
	if len(taken) == len(methods) {
		by := taken[methods[0]]
		c.invalid(at, "unreachable: route %q (line %d) takes these requests first", by.Name, by.Position.Line)
		return
	}
	for _, method := range keys(taken) {
		c.invalid(at, "%s never gets here: route %q (line %d) takes it first", method, taken[method].Name, taken[method].Position.Line)
	}
}

// contradict reports whether no request can satisfy both conditions.
func contradict(a, b []headerMatch) bool {
	for _, x := range a {
		for _, y := range b {
			if x.name == y.name && x.value != y.value {
				return true
			}
		}
	}
	return false
}

// implies reports whether every request that satisfies a satisfies b.
func implies(a, b []headerMatch) bool {
	return !slices.ContainsFunc(b, func(h headerMatch) bool { return !slices.Contains(a, h) })
}
