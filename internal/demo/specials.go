package demo

import (
	"fmt"
	"net/http"
	"time"
)

const maxSpecials = 500

// specials are offers of restaurants. The server's mu guards them.
type specials struct {
	rows []map[string]any // the id is the index and one
}

func makeSpecials(seed uint64, restaurants []*record) *specials {
	all := &specials{}
	for i := range 12 {
		r := &random{seed + uint64(50000+i)}
		p := restaurants[r.below(len(restaurants))]
		off := 5 + 5*r.below(6)
		at := epoch.AddDate(0, 0, 10*i)
		all.rows = append(all.rows, map[string]any{
			"id": i + 1, "restaurant_id": p.id, "restaurant_name": p.text("name"), "discount_percent": off,
			"title": fmt.Sprintf("%d%% off on %ss", off, time.Weekday(r.below(5))), "description": sentence(r),
			"active": true, "claims": r.below(40), "redemptions": r.below(20),
			"starts_at": at.Format(time.RFC3339), "ends_at": at.AddDate(1, 0, 0).Format(time.RFC3339),
		})
	}
	return all
}

func (s *server) listSpecials(r *request) reply {
	wanted := positive(r.URL.Query().Get("restaurant_id"), -1)
	found := []map[string]any{}
	for _, v := range s.specials.rows {
		if wanted < 0 || v["restaurant_id"] == wanted {
			found = append(found, v)
		}
	}
	return success(found)
}

// onSpecial runs f on the special of the path.
func (s *server) onSpecial(r *request, f func(map[string]any) reply) reply {
	if id := r.id(); id >= 1 && id <= len(s.specials.rows) {
		return f(s.specials.rows[id-1])
	}
	return failure(http.StatusNotFound, "Special not found")
}

func (s *server) special(r *request) reply {
	return s.onSpecial(r, func(v map[string]any) reply { return success(v) })
}

// createSpecial takes restaurant_id, title and description.
func (s *server) createSpecial(r *request) reply {
	id, _ := r.body["restaurant_id"].(float64)
	p := s.collections["restaurants"].find(int(id))
	title, about := r.text("title"), r.text("description")
	if p == nil || title == "" || len(title)+len(about) > 2000 {
		return failure(http.StatusBadRequest, "Validation failed")
	}
	if len(s.specials.rows) >= maxSpecials {
		return failure(http.StatusConflict, errFull.Error())
	}
	v := map[string]any{
		"id": len(s.specials.rows) + 1, "restaurant_id": p.id, "restaurant_name": p.text("name"), "discount_percent": 0,
		"title": title, "description": about, "active": true, "claims": 0, "redemptions": 0,
		"starts_at": r.now.UTC().Format(time.RFC3339), "ends_at": r.now.UTC().AddDate(1, 0, 0).Format(time.RFC3339),
	}
	s.specials.rows = append(s.specials.rows, v)
	answer := success(v)
	answer.status = http.StatusCreated
	return answer
}

// updateSpecial takes title, description and active.
func (s *server) updateSpecial(r *request) reply {
	return s.onSpecial(r, func(v map[string]any) reply {
		changed := false
		for _, field := range []string{"title", "description"} {
			if text := r.text(field); text != "" && len(text) <= 2000 {
				v[field], changed = text, true
			}
		}
		if active, ok := r.body["active"].(bool); ok {
			v["active"], changed = active, true
		}
		if !changed {
			return failure(http.StatusBadRequest, errFields.Error())
		}
		return success(v)
	})
}

func (s *server) claimSpecial(r *request) reply  { return s.countSpecial(r, "claims") }
func (s *server) redeemSpecial(r *request) reply { return s.countSpecial(r, "redemptions") }

func (s *server) countSpecial(r *request, field string) reply {
	return s.onSpecial(r, func(v map[string]any) reply {
		n, _ := v[field].(int)
		v[field] = n + 1
		return success(map[string]any{"id": v["id"], field: n + 1})
	})
}
