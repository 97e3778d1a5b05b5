"""Reviews; a review changes the rating of its place."""

import math
from datetime import timedelta

from flask import Blueprint, g, request

from .auth import allow, may
from .filters import LIST_LIMIT, positive
from .rand import Rand
from .records import EPOCH, number, person, sentence, timestamp
from .store import COLLECTIONS, SEED, Refused, body, locked, now, reply, success, text

api = Blueprint("reviews", __name__, url_prefix="/api/v5/reviews")
MAX_REVIEWS = 2000


def make_reviews():
    """Two reviews for every third restaurant."""
    rows = []
    for i, p in list(enumerate(COLLECTIONS["restaurants"].rows))[::3]:
        for n in range(2):
            r = Rand(SEED + 40000 + 2 * i + n)
            at = timestamp(EPOCH + timedelta(seconds=i * 80000 + n * 40000))
            rows.append({
                "id": len(rows) + 1, "entity_type": "restaurants", "entity_id": p.id,
                "user_id": str(200 + r.below(50)), "author": person(r), "rating": 3 + r.below(3),
                "content": f"{sentence(r)} {sentence(r)}", "status": "approved", "created_at": at, "updated_at": at,
            })
    return rows


REVIEWS = make_reviews()
next_id = len(REVIEWS) + 1


def of(kind, id):
    """The reviews of one place, newest first; None is any."""
    return [
        v for v in reversed(REVIEWS)
        if (not kind or v["entity_type"] == kind) and (id is None or v["entity_id"] == id)
    ]


def found(id):
    for v in REVIEWS:
        if v["id"] == id:
            return v
    raise Refused(404, "Review not found")


def own(id):
    v = found(id)
    if v["user_id"] != g.user["id"] and not may(g.user, "admin"):
        raise Refused(403, "Not your review")
    return v


def one_decimal(value):
    return number(math.floor(value * 10 + 0.5) / 10)


def reviewed(v, reviews, ratings):
    """Counts a review into the rating of its place."""
    p = COLLECTIONS[v["entity_type"]].find(v["entity_id"])
    if p is None:  # deleted since
        return
    count = p.number("review_count")
    total = p.number("rating") * count + ratings
    count += reviews
    p.fields.update(
        review_count=count, rating=one_decimal(total / max(count, 1)), updated_at=timestamp(now()))


def rating_of():
    """A whole number from 1 to 5, or 0."""
    rating = body().get("rating")
    ok = isinstance(rating, (int, float)) and not isinstance(rating, bool) and 1 <= rating <= 5
    return int(rating) if ok and rating == int(rating) else 0


@api.get("/", strict_slashes=False)
@locked
def list_reviews():
    rows = of(request.args.get("entity_type"), positive(request.args.get("entity_id"), None))
    limit = min(positive(request.args.get("limit"), 10), LIST_LIMIT)
    return reply({
        "success": True, "reviews": rows[:limit],
        "pagination": {"limit": limit, "total_count": len(rows), "has_more": len(rows) > limit},
    })


@api.get("/<int:id>")
@locked
def review(id):
    return success(found(id))


@api.get("/<kind>/<int:id>/stats")
@locked
def stats(kind, id):
    ratings = [v["rating"] for v in of(kind, id)]
    return success({
        "average": one_decimal(sum(ratings) / len(ratings)) if ratings else 0, "total": len(ratings),
        "distribution": {str(n): ratings.count(n) for n in range(1, 6)},
    })


@api.post("/", strict_slashes=False)
@allow("user")
@locked
def create():
    global next_id
    kind, content, rating, id = text("entity_type"), text("content"), rating_of(), body().get("entity_id")
    if kind not in COLLECTIONS or not rating or not content or len(content.encode()) > 5000:
        raise Refused(400, "Validation failed")
    if COLLECTIONS[kind].find(id) is None:
        raise Refused(404, "Entity not found")
    if len(REVIEWS) >= MAX_REVIEWS:
        raise Refused(409, "too many records")
    at = timestamp(now())
    v = {
        "id": next_id, "entity_type": kind, "entity_id": id, "user_id": g.user["id"], "author": g.user["name"],
        "rating": rating, "content": content, "status": "approved", "created_at": at, "updated_at": at,
    }
    next_id += 1
    REVIEWS.append(v)
    reviewed(v, 1, rating)
    return success(v, 201)


@api.put("/<int:id>")
@allow("user")
@locked
def change(id):
    v, content, rating = own(id), text("content"), rating_of()
    if not (content or rating) or len(content.encode()) > 5000:
        raise Refused(400, "Validation failed")
    if content:
        v["content"] = content
    if rating:
        before, v["rating"] = v["rating"], rating
        reviewed(v, 0, rating - before)
    v["updated_at"] = timestamp(now())
    return success(v)


@api.delete("/<int:id>")
@allow("user")
@locked
def remove(id):
    v = own(id)
    REVIEWS.remove(v)
    reviewed(v, -1, -v["rating"])
    return success({"id": id})
