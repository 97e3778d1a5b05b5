package policy

import "go.yaml.in/yaml/v4"

// maxMerge is how deeply merge keys may nest. A mapping that merges itself ends
// here too.
const maxMerge = 8

type pair struct{ key, value *yaml.Node }

// pairs gives a mapping's keys and values: its own in their order, then those
// of its merge key (<<) that it does not have itself. Duplicate keys and keys
// that are no plain names are reported and left out.
func (d *decoder) pairs(n *yaml.Node, path string) []pair {
	var list []pair
	seen := map[string]*yaml.Node{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch first := seen[key.Value]; {
		case key.Kind == yaml.ScalarNode && key.Tag == "!!merge":
			merges = append(merges, value)
		case key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0:
			d.report(d.place(key), "a key must be a plain name")
		case first != nil:
			d.report(d.place(key), "duplicate key %q (first at line %d)", key.Value, first.Line)
		default:
			seen[key.Value] = key
			list = append(list, pair{key, value})
		}
	}
	for _, m := range merges {
		list = d.merge(list, seen, m, path, 1)
	}
	return list
}

// merge appends the pairs of what a merge key names, a mapping or a list of
// mappings, that are not in seen yet.
func (d *decoder) merge(list []pair, seen map[string]*yaml.Node, n *yaml.Node, path string, depth int) []pair {
	if !d.spend(n) {
		return list
	}
	at := d.place(n)
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case depth > maxMerge:
		d.unreadable(path, at, "merge keys nest more than %d deep", maxMerge)
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			list = d.merge(list, seen, item, path, depth+1)
		}
	case n.Kind != yaml.MappingNode:
		d.unreadable(path, at, "a merge key takes a mapping or a list of mappings, found %s", describe(n))
	default:
		var merges []*yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			switch {
			case key.Kind == yaml.ScalarNode && key.Tag == "!!merge":
				merges = append(merges, value)
			case key.Kind == yaml.ScalarNode && seen[key.Value] == nil && d.spend(key):
				seen[key.Value] = key
				list = append(list, pair{key, value})
			}
		}
		for _, m := range merges {
			list = d.merge(list, seen, m, path, depth+1)
		}
	}
	return list
}
