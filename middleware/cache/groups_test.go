package cache_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/middleware/cache"
)

// grouped is an edge that has stored /strict/a and /strict/b, which are in groups.
func grouped(t *testing.T, a, b string) *edge {
	e := newEdge(t, options{})
	e.upstreamSays(says("old", "Cache-Control", "max-age=60", "Cache-Groups", a))
	e.get("/strict/a")
	e.upstreamSays(says("old", "Cache-Control", "max-age=60", "Cache-Groups", b))
	e.get("/strict/b")
	return e
}

// then says which of both are still stored.
func (e *edge) then() string {
	e.Helper()
	e.upstreamSays(says("new"))
	return e.get("/strict/a").body + " " + e.get("/strict/b").body
}

func TestRFC9875_2_ThirtyTwoGroupsOfThirtyTwoCharacters(t *testing.T) {
	var groups []string
	for i := range 32 {
		groups = append(groups, fmt.Sprintf(`"%032d"; unknown=%d`, i, i))
	}
	for _, i := range []int{0, 31} {
		e := grouped(t, strings.Join(groups, ", "), `"other"`)
		e.upstreamSays(says("", "Cache-Group-Invalidation", `"x", `+groups[i]))
		e.do("POST", "/other", "x")
		if got := e.then(); got != "new old" {
			t.Errorf("group %d: %s", i, got)
		}
	}
	e := grouped(t, groups[0], groups[31])
	e.upstreamSays(says("", "Cache-Group-Invalidation", strings.Join(groups, ",")))
	e.do("POST", "/other", "x")
	if got := e.then(); got != "new new" {
		t.Errorf("3: all at once: %s", got)
	}
}

func TestRFC9875_2_1_GroupsAreComparedByCharacterAndOrigin(t *testing.T) {
	for _, tt := range []struct {
		says, group, authority, want string
	}{
		{"the same", `"menu"`, "api.test", "new old"},
		{"the port that http implies", `"menu"`, "api.test:80", "new old"},
		{"another port", `"menu"`, "api.test:8080", "old old"},
		{"another host", `"menu"`, "other.test", "old old"},
		{"other letters", `"Menu"`, "api.test", "old old"},
		{"a token is no String", `menu`, "api.test", "old old"},
	} {
		e := grouped(t, `"x", "menu"`, `"menus"`)
		e.upstreamSays(says("", "Cache-Group-Invalidation", tt.group))
		e.do("POST", "/other", "x", "X-Test-Authority", tt.authority)
		if got := e.then(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.says, got, tt.want)
		}
	}
}

// A cache may extend invalidation from an invalidated response to others in its groups. This one
// does not: only the gateway that stores a response knows its groups, so gateways would differ.
func TestRFC9875_2_2_1_AWriteInvalidatesItsURIAndNotItsGroups(t *testing.T) {
	for says, header := range map[string][]string{
		"nothing more":                       nil,
		"3: Cache-Groups of the write":       {"Cache-Groups", `"menu"`},
		"no cascade: a group of the other's": {"Cache-Group-Invalidation", `"x"`},
	} {
		e := grouped(t, `"x", "menu"`, `"menu"`)
		e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
		})
		e.do("PUT", "/strict/a", "x")
		if got := e.then(); got != "new old" {
			t.Errorf("%s: %s", says, got)
		}
	}
}

func TestRFC9875_3_GroupsAreInvalidatedByResponsesToUnsafeMethods(t *testing.T) {
	for _, tt := range []struct {
		method string
		status int
		want   string
	}{
		{"POST", 200, "new new"},
		{"DELETE", 204, "new new"},
		{"FROBNICATE", 200, "new new"},
		{"POST", 409, "new new"}, // the origin's field counts, whatever the status
		{"GET", 200, "old old"},
		{"HEAD", 200, "old old"},
		{"OPTIONS", 200, "old old"},
		{"QUERY", 200, "old old"},
	} {
		e := grouped(t, `"menu"`, `"menu"`)
		e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Group-Invalidation", `"menu"`)
			w.WriteHeader(tt.status)
		})
		e.do(tt.method, "/other", "")
		if got := e.then(); got != tt.want {
			t.Errorf("%s answered %d: %s, want %s", tt.method, tt.status, got, tt.want)
		}
	}
}

func TestRFC9111_4_4_ErrorsInvalidateNothing(t *testing.T) {
	for status, want := range map[int]string{200: "new old", 303: "new old", 400: "old old", 404: "old old", 503: "old old"} {
		e := grouped(t, `"x"`, `"y"`)
		e.upstreamSays(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "")
		})
		e.do("FROBNICATE", "/strict/a", "x")
		if got := e.then(); got != want {
			t.Errorf("an unknown method answered %d: %s, want %s", status, got, want)
		}
	}
}

// tableCounters return the table that the test sets.
type tableCounters struct {
	strictCounters
	now cache.Table
}

func (c *tableCounters) Load(context.Context) (cache.Table, error) { return c.now, nil }

// A response whose groups become known only after the table of purges was lost may be older than a
// purge in that table, which other gateways report later.
func TestGroupsOfAFillDuringWhichTheTableWasLost(t *testing.T) {
	counters := &tableCounters{now: tableOf(1000)}
	e := newEdge(t, options{tags: cache.TagsConfig{Counters: counters, Switch: failover.New(failover.Config{})}})
	read := func(table cache.Table) {
		counters.now = table
		e.tags.Replay()
		if err := e.tags.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	}
	read(counters.now)
	e.upstreamSays(func(w http.ResponseWriter, r *http.Request) {
		read(tableOf(2000))
		says("old", "Cache-Control", "max-age=60", "Cache-Groups", `"menu"`)(w, r)
	})
	e.get("/strict/a")
	group := e.tags.Marks([]string{"group:http://api.test menu"})[0].Slot
	read(tableOf(2000, cache.Mark{Slot: group, Gen: 1001})) // purged while it was filled
	e.upstreamSays(says("new", "Cache-Control", "max-age=60", "Cache-Groups", `"menu"`))
	if got := e.get("/strict/a"); got.body != "new" {
		t.Errorf("%q with %q", got.body, got.cacheStatus())
	}
	read(tableOf(2000, cache.Mark{Slot: group, Gen: 2001}))
	e.upstreamSays(says("newer"))
	if got := e.get("/strict/a"); got.body != "newer" {
		t.Errorf("after a purge %q with %q", got.body, got.cacheStatus())
	}
}

func tableOf(base uint64, marks ...cache.Mark) cache.Table {
	return cache.Table{Position: cache.Position{Base: base}, Marks: marks}
}
