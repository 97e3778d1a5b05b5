package demo

import (
	"net/http"
	"slices"
	"strings"
)

// kinds in the order in which a search finds them.
var kinds = []string{"restaurants", "synagogues", "mikvahs", "stores"}

// searched is an answer that anyone may keep for five minutes, as the real
// search says.
func searched(data any) reply {
	answer := success(data)
	answer.header = map[string]string{"Cache-Control": "public, max-age=300"}
	return answer
}

// search reads q, the repeatable types or the type in the path, limit and
// cursor.
func (s *server) search(r *request) reply {
	q := r.URL.Query()
	wanted := q["types"]
	if kind := r.PathValue("type"); kind != "" {
		wanted = []string{kind}
	}
	for _, kind := range wanted {
		if s.collections[kind] == nil {
			return failure(http.StatusBadRequest, "Invalid entity type")
		}
	}
	part, err := pageOf(q, searchLimit)
	if err != nil {
		return failure(http.StatusBadRequest, err.Error())
	}
	needle := strings.ToLower(strings.TrimSpace(q.Get("q")))
	var hits []*record
	for _, kind := range kinds {
		if len(wanted) > 0 && !slices.Contains(wanted, kind) {
			continue
		}
		for _, p := range choose(s.collections[kind].rows, q, r.now) {
			if p.contains(needle) {
				hits = append(hits, p)
			}
		}
	}
	rows, about := part.cut(hits)
	results := make([]map[string]any, len(rows))
	for i, p := range rows {
		p.json(r.now) // brings is_open up to date
		results[i] = p.fields
	}
	return searched(map[string]any{"query": q.Get("q"), "results": results, "pagination": about})
}

// suggest gives up to limit names that contain q, of at least two letters.
func (s *server) suggest(r *request) reply {
	q := r.URL.Query()
	needle := strings.ToLower(strings.TrimSpace(q.Get("q")))
	limit := min(positive(q.Get("limit"), 10), listLimit)
	names := []string{}
	if len(needle) >= 2 {
		for _, kind := range kinds {
			for _, p := range s.collections[kind].rows {
				name := p.text("name")
				if len(names) < limit && strings.Contains(strings.ToLower(name), needle) && !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	return searched(map[string]any{"suggestions": names})
}

func (s *server) searchFilters(*request) reply {
	options := map[string]any{}
	for kind, c := range s.collections {
		options[kind] = c.filterOptions()
	}
	return searched(options)
}

func popular(*request) reply {
	return searched(map[string]any{"popular_searches": []string{"pizza", "sushi", "shawarma", "bagels", "miami beach", "glatt"}})
}
