package demo

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"time"
)

// epoch is when the oldest record was made.
var epoch = time.Date(2025, time.March, 1, 8, 0, 0, 0, time.UTC)

// newFamilies generates all records. The numbers are those of JewGo's database:
// a list of 50 restaurants has 232 KB.
func newFamilies(seed uint64) []*family {
	places := func(name, single string, count, first, last, size int, filler string) *family {
		return &family{name, single, count, first, last, size, filler, "name", "editor", "admin", place, nil, 0}
	}
	families := []*family{
		places("restaurants", "restaurant", 207, 1464, 1900, 4638, "google_reviews"),
		places("synagogues", "synagogue", 149, 1, 149, 1200, "description"),
		places("mikvahs", "mikvah", 40, 1, 40, 1100, "description"),
		places("stores", "store", 60, 1, 60, 1200, "description"),
		{"reviews", "review", 138, 1, 138, 500, "content", "content", "user", "user", review, nil, 0},
		{"specials", "special", 12, 1, 12, 400, "description", "title", "editor", "editor", special, nil, 0},
	}
	for n, f := range families {
		for i := range f.count {
			r := &random{rand.New(rand.NewPCG(seed, uint64(n*maxRecords+i)))}
			f.rows = append(f.rows, f.generate(r, i))
		}
		f.next = f.last + 1
	}
	return families
}

func (f *family) generate(r *random, i int) record {
	id, at := f.first+i*(f.last-f.first)/(f.count-1), epoch.Add(time.Duration(i)*20*time.Hour).Format(time.RFC3339)
	p := f.fields(r, f, id)
	maps.Copy(p, record{"id": id, "status": "active", "created_at": at, "updated_at": at, f.filler: ""})
	// Sizes vary, and pages of any part of a list are of the same size. The
	// texts are ASCII without quotes: a character is a byte of JSON.
	missing := max(f.size+f.size/16*(i%8)-f.size/16*7/2-len(encode(p)), 0)
	var text strings.Builder
	for text.Len() < missing {
		text.WriteString(r.sentence())
	}
	p[f.filler] = text.String()[:missing]
	return p
}

type random struct{ *rand.Rand }

func (r *random) pick(values []string) string { return values[r.IntN(len(values))] }

func (r *random) sentence() string {
	return r.pick(openers) + " " + r.pick(subjects) + " " + r.pick(verdicts) + ". "
}

func place(r *random, f *family, id int) record {
	category := r.pick([]string{"meat", "meat", "meat", "dairy", "dairy", "dairy", "pareve"})
	name := r.pick(prefixes) + " " + strings.ToUpper(f.single[:1]) + f.single[1:]
	if f.name == "restaurants" {
		name = r.pick(prefixes) + " " + r.pick(kitchens[category])
	}
	slug := strings.ToLower(strings.ReplaceAll(name, " ", "-"))
	return record{
		"name": name, "listing_type": f.single, "category": f.single, "is_open": r.IntN(3) > 0,
		"kosher_category": category, "kosher_details": kosher[category],
		"address": fmt.Sprint(100+r.IntN(9800), " Collins Avenue"), "city": r.pick(cities), "state": "FL",
		"zip_code": fmt.Sprint(33100 + r.IntN(99)), "phone_number": fmt.Sprint("(305) 555-01", 10+r.IntN(90)),
		"email": "info@" + slug + ".example", "website": "https://www." + slug + ".example/",
		"latitude": 25.7 + float64(r.IntN(600))/1000, "longitude": -80.3 + float64(r.IntN(200))/1000,
		"certifying_agency": r.pick(agencies), "hours_of_operation": "Sunday-Thursday 11:00-22:00; Friday 10:00-14:00",
		"price_range": strings.Repeat("$", 1+r.IntN(4)), "rating": float64(32+r.IntN(18)) / 10,
		"review_count": 8 + r.IntN(900), "view_count": r.IntN(5000), "description": r.sentence(),
		"image_url": fmt.Sprintf("https://images.example/%s/%d/1.jpg", f.name, id),
	}
}

// review is of every third restaurant, twice.
func review(r *random, _ *family, id int) record {
	return record{"entity_type": "restaurant", "entity_id": 1464 + (id-1)/2*3*(1900-1464)/206, "rating": 3 + r.IntN(3)}
}

func special(r *random, _ *family, _ int) record {
	return record{
		"title": fmt.Sprintf("%d%% off", 5+5*r.IntN(6)), "restaurant_id": 1464, "claims": r.IntN(40), "redemptions": r.IntN(20),
	}
}

var (
	cities   = []string{"Miami Beach", "Surfside", "Aventura", "Hollywood", "Boca Raton", "North Miami Beach", "Fort Lauderdale"}
	agencies = []string{"ORB", "OU", "Kosher Miami", "Star-K", "cRc", "OK"}
	kosher   = map[string]string{"meat": "Glatt", "dairy": "Cholov Yisroel", "pareve": "Pas Yisroel"}
	prefixes = []string{"Jerusalem", "Olive", "Pomegranate", "Golden", "Harbor", "Cedar", "Sunrise", "Galil", "Negev", "Carmel"}
	kitchens = map[string][]string{ // by kosher category
		"meat":   {"Grill", "Steakhouse", "Shawarma", "Smokehouse", "Burger Bar", "Deli"},
		"dairy":  {"Pizza", "Cafe", "Bagels", "Creamery", "Pasta Bar", "Waffle Bar"},
		"pareve": {"Sushi", "Falafel", "Bakery", "Juice Bar", "Fish House", "Salad Bar"},
	}

	openers = []string{
		"From the first visit", "On a busy evening", "With a table by the window", "After a long drive", "For a family dinner",
		"At lunch with colleagues", "With small children", "For a birthday", "After the renovation", "On a quiet afternoon",
	}
	subjects = []string{
		"the service", "the kitchen", "the bread", "the staff at the counter", "the portion", "the seasonal menu",
		"the dining room", "the grilled fish", "the house salad", "the owner", "the dessert", "the tea",
	}
	verdicts = []string{
		"was better than we expected", "came quickly and hot", "made us feel welcome", "kept the promise of the menu",
		"was worth the price", "took a little longer than usual", "showed real care", "has become our favorite",
	}
)
