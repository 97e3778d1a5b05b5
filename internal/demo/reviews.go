package demo

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const maxReviews = 2000

// reviews are all reviews, oldest first. The server's mu guards them.
type reviews struct {
	rows []map[string]any
	next int
}

// makeReviews writes two reviews for every third restaurant.
func makeReviews(seed uint64, restaurants []*record) *reviews {
	all := &reviews{next: 1}
	for i := 0; i < len(restaurants); i += 3 {
		for n := range 2 {
			r := &random{seed + uint64(40000+2*i+n)}
			at := epoch.Add(time.Duration(i*80000+n*40000) * time.Second).Format(time.RFC3339)
			all.add(map[string]any{
				"entity_type": "restaurants", "entity_id": restaurants[i].id, "user_id": fmt.Sprint(200 + r.below(50)),
				"author": r.pick(firstNames) + " " + r.pick(lastNames), "rating": 3 + r.below(3),
				"content": sentence(r) + " " + sentence(r), "status": "approved", "created_at": at, "updated_at": at,
			})
		}
	}
	return all
}

func (all *reviews) add(review map[string]any) {
	review["id"] = all.next
	all.next++
	all.rows = append(all.rows, review)
}

func (all *reviews) find(id int) map[string]any {
	if i := slices.IndexFunc(all.rows, func(v map[string]any) bool { return v["id"] == id }); i >= 0 {
		return all.rows[i]
	}
	return nil
}

// of are the reviews of one place, newest first. An empty kind or an id of -1
// is any.
func (all *reviews) of(kind string, id int) []map[string]any {
	found := []map[string]any{}
	for _, v := range slices.Backward(all.rows) {
		if (kind == "" || v["entity_type"] == kind) && (id < 0 || v["entity_id"] == id) {
			found = append(found, v)
		}
	}
	return found
}

func (s *server) listReviews(r *request) reply {
	q := r.URL.Query()
	found := s.reviews.of(q.Get("entity_type"), positive(q.Get("entity_id"), -1))
	limit := min(positive(q.Get("limit"), 10), listLimit)
	return reply{value: map[string]any{
		"success": true, "reviews": found[:min(limit, len(found))],
		"pagination": map[string]any{"limit": limit, "total_count": len(found), "has_more": len(found) > limit},
	}}
}

func (s *server) review(r *request) reply {
	if v := s.reviews.find(r.id()); v != nil {
		return success(v)
	}
	return failure(http.StatusNotFound, "Review not found")
}

func (s *server) reviewStats(r *request) reply {
	counts, sum := map[string]int{"1": 0, "2": 0, "3": 0, "4": 0, "5": 0}, 0
	found := s.reviews.of(r.PathValue("type"), r.id())
	for _, v := range found {
		rating, _ := v["rating"].(int)
		counts[strconv.Itoa(rating)]++
		sum += rating
	}
	average := 0.0
	if len(found) > 0 {
		average = oneDecimal(float64(sum) / float64(len(found)))
	}
	return success(map[string]any{"average": average, "total": len(found), "distribution": counts})
}

func oneDecimal(v float64) float64 { return math.Floor(v*10+0.5) / 10 }

// reviewed counts a review into the rating of its place.
func (s *server) reviewed(v map[string]any, reviews, ratings int, now time.Time) {
	kind, _ := v["entity_type"].(string)
	id, _ := v["entity_id"].(int)
	p := s.collections[kind].find(id)
	if p == nil { // deleted since
		return
	}
	count := int(p.number("review_count"))
	sum := p.number("rating")*float64(count) + float64(ratings)
	count += reviews
	p.set("review_count", count)
	p.set("rating", oneDecimal(sum/float64(max(count, 1))))
	p.set("updated_at", now.UTC().Format(time.RFC3339))
}

// ratingOf is a whole number from 1 to 5, or 0.
func (r *request) ratingOf() int {
	rating, _ := r.body["rating"].(float64)
	if rating < 1 || rating > 5 || rating != math.Trunc(rating) {
		return 0
	}
	return int(rating)
}

// createReview takes entity_type, entity_id, rating and content.
func (s *server) createReview(r *request) reply {
	kind, content, rating := r.text("entity_type"), r.text("content"), r.ratingOf()
	id, _ := r.body["entity_id"].(float64)
	if s.collections[kind] == nil || rating == 0 || content == "" || len(content) > 5000 {
		return failure(http.StatusBadRequest, "Validation failed")
	}
	if s.collections[kind].find(int(id)) == nil {
		return failure(http.StatusNotFound, "Entity not found")
	}
	if len(s.reviews.rows) >= maxReviews {
		return failure(http.StatusConflict, errFull.Error())
	}
	at := r.now.UTC().Format(time.RFC3339)
	v := map[string]any{
		"entity_type": kind, "entity_id": int(id), "user_id": r.user.id, "author": r.user.name,
		"rating": rating, "content": content, "status": "approved", "created_at": at, "updated_at": at,
	}
	s.reviews.add(v)
	s.reviewed(v, 1, rating, r.now)
	answer := success(v)
	answer.status = http.StatusCreated
	return answer
}

// own finds the review of the path, which must be the user's, or the user an
// admin.
func (s *server) own(r *request) (review map[string]any, refusal reply) {
	v := s.reviews.find(r.id())
	switch {
	case v == nil:
		return nil, failure(http.StatusNotFound, "Review not found")
	case v["user_id"] != r.user.id && !r.user.may("admin"):
		return nil, failure(http.StatusForbidden, "Not your review")
	}
	return v, reply{}
}

// updateReview takes rating, content or both.
func (s *server) updateReview(r *request) reply {
	v, refusal := s.own(r)
	if v == nil {
		return refusal
	}
	content, rating := r.text("content"), r.ratingOf()
	if (content == "" && rating == 0) || len(content) > 5000 {
		return failure(http.StatusBadRequest, "Validation failed")
	}
	if content != "" {
		v["content"] = content
	}
	if rating != 0 {
		before, _ := v["rating"].(int)
		v["rating"] = rating
		s.reviewed(v, 0, rating-before, r.now)
	}
	v["updated_at"] = r.now.UTC().Format(time.RFC3339)
	return success(v)
}

func (s *server) removeReview(r *request) reply {
	v, refusal := s.own(r)
	if v == nil {
		return refusal
	}
	s.reviews.rows = slices.DeleteFunc(s.reviews.rows, func(w map[string]any) bool { return w["id"] == v["id"] })
	rating, _ := v["rating"].(int)
	s.reviewed(v, -1, -rating, r.now)
	return success(map[string]any{"id": v["id"]})
}
