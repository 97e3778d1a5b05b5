package demo

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// family is one kind of record; all families have the same endpoints. The server's mu guards rows
// and next.
type family struct {
	name            string
	count           int    // of records at the start
	first, last     int    // IDs; the records are spread evenly between them
	size            int    // average bytes of a record in JSON
	writer, remover string // roles

	rows []record // oldest first
	next int      // ID of the next record
}

// epoch is the creation time of the oldest record.
var epoch = time.Date(2025, time.March, 1, 8, 0, 0, 0, time.UTC)

// newFamilies generates all records. The numbers are those of JewGo's database: a list of 50
// restaurants has 232 KB.
func newFamilies(seed uint64) []*family {
	families := []*family{
		{"restaurants", 207, 1464, 1900, 4638, "editor", "admin", nil, 0},
		{"synagogues", 149, 1, 149, 1200, "editor", "admin", nil, 0},
		{"mikvahs", 40, 1, 40, 1100, "editor", "admin", nil, 0},
		{"stores", 60, 1, 60, 1200, "editor", "admin", nil, 0},
		{"reviews", 138, 1, 138, 500, "user", "user", nil, 0},
		{"specials", 12, 1, 12, 400, "editor", "editor", nil, 0},
	}
	for n, f := range families {
		for i := range f.count {
			f.rows = append(f.rows, f.generate(rand.New(rand.NewPCG(seed, uint64(n*maxRecords+i))), i))
		}
		f.next = f.last + 1
	}
	return families
}

func (f *family) generate(r *rand.Rand, i int) record {
	pick := func(values []string) string { return values[r.IntN(len(values))] }
	id, at := f.first+i*(f.last-f.first)/(f.count-1), epoch.Add(time.Duration(i)*20*time.Hour).Format(time.RFC3339)
	p := record{
		"id": id, "name": pick(names) + " " + pick(kinds), "status": "active", "created_at": at, "updated_at": at,
		"address": fmt.Sprint(100+r.IntN(9800), " Collins Avenue"), "view_count": r.IntN(5000), "description": "",
		"rating": float64(32+r.IntN(18)) / 10,
	}
	switch f.name {
	case "reviews": // of every third restaurant, twice
		p["entity_type"], p["entity_id"] = "restaurant", 1464+i/2*3*(1900-1464)/206
	case "specials":
		p["restaurant_id"] = 1464
	default:
		for _, o := range options {
			p[o.field] = pick(o.values)
		}
	}
	// Sizes vary, but pages from any part of a list have the same size. The texts are ASCII
	// without quotes, so a character is a byte of JSON.
	missing := max(f.size+f.size/16*(i%8)-f.size/16*7/2-len(encode(p)), 0)
	var text strings.Builder
	for text.Len() < missing {
		text.WriteString(pick(words) + " ")
	}
	p["description"] = text.String()[:missing]
	return p
}

// options are the fields by which a client may filter records.
var options = []struct {
	name, field string
	values      []string
}{
	{"agencies", "certifying_agency", []string{"Kosher Miami", "OK", "ORB", "OU", "Star-K", "cRc"}},
	{"cities", "city", []string{"Aventura", "Boca Raton", "Hollywood", "Miami Beach", "Surfside"}},
	{"kosherCategories", "kosher_category", []string{"dairy", "meat", "pareve"}},
	{"priceRanges", "price_range", []string{"$", "$$", "$$$", "$$$$"}},
}

var (
	names = []string{"Jerusalem", "Olive", "Pomegranate", "Golden", "Harbor", "Cedar", "Sunrise", "Galil", "Negev", "Carmel"}
	kinds = []string{"Grill", "Shawarma", "Burger Bar", "Deli", "Pizza", "Cafe", "Bagels", "Sushi", "Falafel", "Bakery"}
	words = strings.Fields("the bread kitchen service was generous friendly quick and we will come back soon for a birthday dinner")
)
