package demo

import (
	"fmt"
	"strings"
	"time"
)

// The numbers of JewGo's database: 207 restaurants with ids from 1464 to 1900.
const (
	restaurantCount       = 207
	meatCount, dairyCount = 95, 82
	firstID, lastID       = 1464, 1900
	rowSize               = 4640 // bytes of JSON of a restaurant in a list, on average
	rowSpread             = 1700 // at most so many more or fewer
)

// epoch is when the oldest record was made.
var epoch = time.Date(2025, time.March, 1, 8, 0, 0, 0, time.UTC)

// makeRestaurants generates all restaurants, oldest first.
func makeRestaurants(seed uint64) []*record {
	r := &random{seed}
	categories := make([]string, restaurantCount)
	for i := range categories {
		switch {
		case i < meatCount:
			categories[i] = "meat"
		case i < meatCount+dairyCount:
			categories[i] = "dairy"
		default:
			categories[i] = "pareve"
		}
	}
	for i := len(categories) - 1; i > 0; i-- {
		j := r.below(i + 1)
		categories[i], categories[j] = categories[j], categories[i]
	}
	rows := make([]*record, restaurantCount)
	spread := 0
	for i := range rows {
		r := &random{seed + uint64(1000+i)}
		rows[i] = makeRestaurant(r, i, categories[i])
		// Neighbours differ from the mean by as much, so that a page of any
		// part of the list, newest first, has the same size.
		if i%2 == 1 {
			spread = r.below(rowSpread)
		} else {
			spread = -spread
		}
		fillReviews(r, rows[i].fields, rowSize+spread)
	}
	return rows
}

func makeRestaurant(r *random, i int, category string) *record {
	id := firstID + i*(lastID-firstID)/(restaurantCount-1)
	name := r.pick(prefixes) + " " + r.pick(kitchens[category])
	p := makePlace(r, i, id, "restaurants", name)
	dish, other := r.pick(dishes[category]), r.pick(dishes[category])
	cholov := category == "dairy" && r.below(2) == 0
	details := map[string]string{"meat": "Glatt", "dairy": "Cholov Stam", "pareve": "Pas Yisroel"}[category]
	if cholov {
		details = "Cholov Yisroel"
	}
	dollars := 1 + r.below(4)
	images := make([]string, 4)
	for n := range images {
		images[n] = fmt.Sprintf("https://images.example/restaurants/%d/%d.jpg", id, n+1)
	}
	rating, reviews := float64(32+r.below(18))/10, 8+r.below(900)
	add(p.fields, map[string]any{
		"kosher_category": category, "kosher_details": details,
		"is_cholov_yisroel": cholov, "is_glatt": category == "meat", "is_pas_yisroel": r.below(2) == 0,
		"listing_type": "restaurant", "category": "restaurant", "business_types": []string{"restaurant", category},
		"price_range":       strings.Repeat("$", dollars),
		"min_avg_meal_cost": 9 * dollars, "max_avg_meal_cost": 9*dollars + 12,
		"rating": rating, "star_rating": rating, "google_rating": rating, "quality_rating": float64(30+r.below(20)) / 10,
		"review_count": reviews, "google_review_count": reviews + r.below(300),
		"google_listing_url": fmt.Sprintf("https://maps.example/?cid=%d", 1000000000+r.below(1000000000)),
		"short_description":  "Known for " + dish + " and " + other + ".",
		"description":        fmt.Sprintf("%s serves %s, %s and more. %s %s", name, dish, other, sentence(r), sentence(r)),
		"images":             images, "business_images": images[1:], "image_url": images[0],
		"features":       []string{r.pick(features), r.pick(features), r.pick(features)},
		"specials":       makeOffers(r, dish),
		"google_reviews": "",
	})
	p.extra = map[string]any{"menu_highlights": []map[string]any{
		{"name": dish, "price": 7 + r.below(30), "note": sentence(r)},
		{"name": other, "price": 7 + r.below(30), "note": sentence(r)},
	}}
	return p
}

func makeOffers(r *random, dish string) []map[string]any {
	offers := []map[string]any{}
	for range r.below(3) {
		offers = append(offers, map[string]any{
			"title": fmt.Sprintf("%d%% off %s", 5+5*r.below(5), dish), "day": time.Weekday(r.below(5)).String(),
		})
	}
	return offers
}

// fillReviews writes google_reviews, JSON in a string as JewGo's database has
// it, so long that the whole row has target bytes. Texts are plain ASCII: a
// character is a byte of JSON.
func fillReviews(r *random, fields map[string]any, target int) {
	var reviews []map[string]any
	var text string
	missing := target - len(encode(fields)) - len(`[]`)
	for missing > 0 {
		if len(reviews) == 0 || missing > 200 {
			text = sentence(r)
			for want := 120 + r.below(260); len(text) < want; {
				text += " " + sentence(r)
			}
			review := map[string]any{
				"author": r.pick(firstNames) + " " + r.pick(lastNames), "rating": 3 + r.below(3),
				"text": text, "time": fmt.Sprintf("%d weeks ago", 1+r.below(50)),
			}
			missing -= len(encode(string(encode(review)))) - len(`""`)
			if len(reviews) > 0 {
				missing -= len(`,`)
			}
			reviews = append(reviews, review)
		} else {
			more := " " + sentence(r) + " " + sentence(r) + " " + sentence(r)
			text += more
			missing -= len(more)
		}
		if missing < 0 {
			text = text[:max(len(text)+missing, 0)]
		}
		reviews[len(reviews)-1]["text"] = text
	}
	fields["google_reviews"] = string(encode(reviews))
}

// sentence is one sentence of about a hundred characters.
func sentence(r *random) string {
	return r.pick(openers) + " " + r.pick(subjects) + " " + r.pick(predicates) + ", " + r.pick(tails) + "."
}
