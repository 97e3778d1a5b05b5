package demo

import (
	"fmt"
	"maps"
	"strings"
	"time"
)

const (
	synagogueCount = 149
	mikvahCount    = 40
	storeCount     = 60
)

// makePlace makes what all kinds have in common. The i-th of a kind is newer
// than the one before it, and the first twenty are in one city each.
func makePlace(r *random, i, id int, kind, name string) *record {
	c := cities[i%len(cities)]
	if i >= len(cities) { // the first cities have most places
		c = cities[min(r.below(len(cities)), r.below(len(cities)))]
	}
	h := makeHours(r, c.utc)
	slug := strings.ToLower(strings.ReplaceAll(name, " ", "-"))
	created := epoch.Add(time.Duration(i*72000+r.below(72000)) * time.Second)
	updated := created.Add(time.Duration(r.below(2592000)) * time.Second)
	return &record{id: id, hours: h, fields: map[string]any{
		"id": id, "name": name, "status": "active", "submission_status": "approved",
		"address": fmt.Sprintf("%d %s", 100+r.below(9800), r.pick(streets)), "city": c.name, "state": c.state,
		"zip_code":     fmt.Sprintf("%s%02d", c.zip, r.below(100)),
		"phone_number": fmt.Sprintf("(%s) 555-01%02d", c.area, r.below(100)),
		"email":        "info@" + slug + ".example", "website": "https://www." + slug + ".example/",
		"latitude":          float64(c.lat+r.below(120001)-60000) / 1e6,
		"longitude":         float64(c.lng+r.below(120001)-60000) / 1e6,
		"timezone":          c.zone,
		"certifying_agency": r.pick(agencies),
		"hours_json":        h.json(), "hours_of_operation": h.text(), "is_open": false,
		"instagram_link": "https://instagram.example/" + slug,
		"facebook_link":  "https://facebook.example/" + slug,
		"owner_name":     r.pick(firstNames) + " " + r.pick(lastNames),
		"view_count":     r.below(5000),
		"created_at":     created.Format(time.RFC3339), "updated_at": updated.Format(time.RFC3339),
		"image_url": fmt.Sprintf("https://images.example/%s/%d/1.jpg", kind, id),
	}}
}

func makeSynagogues(seed uint64) []*record {
	return makeSome(seed+10000, synagogueCount, func(r *random, i, id int) *record {
		p := makePlace(r, i, id, "synagogues", r.pick(shulNames)+" of "+r.pick(prefixes))
		add(p.fields, map[string]any{
			"listing_type": "synagogue", "category": "synagogue",
			"denomination": r.pick(denominations), "nusach": r.pick(nusachs),
			"rabbi":    "Rabbi " + r.pick(firstNames) + " " + r.pick(lastNames),
			"capacity": 60 + r.below(600), "has_mikvah": r.below(4) == 0, "has_parking": r.below(2) == 0,
			"shacharit": clock(375 + 15*r.below(8)), "mincha": clock(795 + 15*r.below(8)), "maariv": clock(1140 + 15*r.below(8)),
			"rating": float64(38+r.below(12)) / 10, "review_count": r.below(120),
			"description": sentence(r) + " " + sentence(r),
		})
		return p
	})
}

func makeMikvahs(seed uint64) []*record {
	return makeSome(seed+20000, mikvahCount, func(r *random, i, id int) *record {
		p := makePlace(r, i, id, "mikvahs", "Mikvah "+r.pick(shulNames))
		add(p.fields, map[string]any{
			"listing_type": "mikvah", "category": "mikvah", "appointment_required": r.below(2) == 0,
			"fee": 18 + r.below(30), "rating": float64(40+r.below(10)) / 10, "review_count": r.below(60),
			"description": sentence(r),
		})
		return p
	})
}

func makeStores(seed uint64) []*record {
	return makeSome(seed+30000, storeCount, func(r *random, i, id int) *record {
		kind := r.pick(storeKinds)
		p := makePlace(r, i, id, "stores", r.pick(prefixes)+" "+kind)
		add(p.fields, map[string]any{
			"listing_type": "store", "category": kind, "price_range": strings.Repeat("$", 1+r.below(4)),
			"rating": float64(34+r.below(16)) / 10, "review_count": r.below(300),
			"description": sentence(r) + " " + sentence(r),
		})
		return p
	})
}

// makeSome makes n records with ids from 1, each from a seed of its own.
func makeSome(seed uint64, n int, one func(r *random, i, id int) *record) []*record {
	rows := make([]*record, n)
	for i := range rows {
		rows[i] = one(&random{seed + uint64(i)}, i, i+1)
	}
	return rows
}

func add(fields, more map[string]any) { maps.Copy(fields, more) }
