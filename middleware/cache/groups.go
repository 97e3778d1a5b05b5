package cache

import (
	"slices"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/rfc9111"
)

// groupTags are the tags of the groups that a field names. Groups are of one
// origin (RFC 9875, 2.1).
func groupTags(ex *exchange.Exchange, lines []string) (tags []string) {
	groups := rfc9111.Groups(lines)
	if len(groups) == 0 {
		return nil
	}
	prefix := "group:" + rfc9111.Origin(requestURL(ex)) + " "
	for _, name := range groups {
		tags = append(tags, prefix+name)
	}
	return tags
}

// group gives an entry the tags of its groups (RFC 9875, 2), which are known only
// now. If anything was purged since the upstream was asked, it may have been
// these; the entry is then not to be stored.
func (c *call) group(e *Entry, got head) bool {
	tags := groupTags(c.ex, got.header["Cache-Groups"])
	if len(tags) == 0 {
		return true
	}
	e.Marks = slices.Concat(got.marks, c.cache.tags.Marks(tags))
	return c.cache.tags.changes() == got.changes
}
