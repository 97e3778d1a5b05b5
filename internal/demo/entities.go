package demo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func listOf(c *collection) func(*request) reply {
	return func(r *request) reply {
		q := r.URL.Query()
		part, err := pageOf(q, listLimit)
		if err != nil {
			return failure(http.StatusBadRequest, err.Error())
		}
		rows, about := part.cut(choose(c.rows, q, r.now))
		rest := map[string]any{"success": true, "pagination": about}
		if q.Get("include_filter_options") == "true" {
			rest["filterOptions"] = c.filterOptions()
		}
		from, located := location(q)
		parts := make([][]byte, len(rows))
		for i, p := range rows {
			parts[i] = p.json(r.now)
			if located {
				miles := strconv.FormatFloat(from.miles(p), 'f', -1, 64)
				parts[i] = join(parts[i][:len(parts[i])-1], `,"distance":`+miles+"}")
			}
		}
		// Rows are kept encoded, and "data" sorts before the other members.
		body := join([]byte(`{"data":[`), string(bytes.Join(parts, []byte(",")))+"],"+string(encode(rest)[1:]))
		return tagged(body)
	}
}

// join appends without writing into what follows b.
func join(b []byte, more string) []byte { return append(slices.Clip(b), more...) }

// tagged is a 200 with a strong ETag, which really is one, although requests
// with If-None-Match get the whole body again: so does the real API.
func tagged(body []byte) reply {
	sum := sha256.Sum256(body)
	return reply{raw: body, header: map[string]string{"ETag": `"` + hex.EncodeToString(sum[:16]) + `"`}}
}

func optionsOf(c *collection) func(*request) reply {
	return func(*request) reply { return success(c.filterOptions()) }
}

// found runs f on the record of the path.
func found(c *collection, f func(*request, *record) reply) func(*request) reply {
	return func(r *request) reply {
		id := r.id()
		if id < 0 { // to Flask it is no such route
			return failure(http.StatusNotFound, http.StatusText(http.StatusNotFound))
		}
		if p := c.find(id); p != nil {
			return f(r, p)
		}
		return failure(http.StatusNotFound, title(c.single)+" not found")
	}
}

func title(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

// whole is all of a record, as a detail shows it.
func whole(r *request, p *record) map[string]any {
	fields := maps.Clone(p.fields)
	add(fields, p.extra)
	fields["is_open"] = p.hours.open(r.now)
	return fields
}

func detailOf(c *collection) func(*request) reply {
	return found(c, func(r *request, p *record) reply {
		return tagged(encode(map[string]any{"success": true, "data": whole(r, p)}))
	})
}

func createIn(c *collection) func(*request) reply {
	return func(r *request) reply {
		p, err := c.create(r.body, r.now)
		if err != nil {
			return refused(err)
		}
		answer := success(whole(r, p))
		answer.status = http.StatusCreated
		return answer
	}
}

func updateIn(c *collection) func(*request) reply {
	return found(c, func(r *request, p *record) reply {
		if err := p.update(r.body, r.now); err != nil {
			return refused(err)
		}
		return success(whole(r, p))
	})
}

func refused(err error) reply {
	if errors.Is(err, errFull) {
		return failure(http.StatusConflict, err.Error())
	}
	return failure(http.StatusBadRequest, err.Error())
}

func removeFrom(c *collection) func(*request) reply {
	return found(c, func(_ *request, p *record) reply {
		c.remove(p.id)
		return success(map[string]any{"id": p.id})
	})
}

// viewOf counts a view, which details and lists show.
func viewOf(c *collection) func(*request) reply {
	return found(c, func(_ *request, p *record) reply {
		views := int(p.number("view_count")) + 1
		p.set("view_count", views)
		return success(map[string]any{"id": p.id, "view_count": views})
	})
}

// actOn answers to what leaves no trace in the data.
func actOn(c *collection, action string) func(*request) reply {
	return found(c, func(_ *request, p *record) reply {
		return success(map[string]any{"id": p.id, "action": action})
	})
}
