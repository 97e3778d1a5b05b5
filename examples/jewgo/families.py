"""Restaurants, synagogues, mikvahs, stores, reviews and specials: the same endpoints for all, over generated data."""

import os
import random
import threading
import zlib
from datetime import datetime, timedelta, timezone

from flask import Blueprint, abort, json, jsonify, request

from auth import json_body, require

api = Blueprint("families", __name__, url_prefix="/api/v5")
EPOCH = datetime(2025, 3, 1, 8, tzinfo=timezone.utc)
MAX_RECORDS, MAX_WRITE = 1000, 8192  # of a family; bytes of a body

# name: records, first and last id, bytes of a record, role for writing, role for deleting.
# The numbers come from JewGo's database: a list of 50 restaurants has 232 KB.
SHAPES = {
    "restaurants": (207, 1464, 1900, 4638, "editor", "admin"),
    "synagogues": (149, 1, 149, 1200, "editor", "admin"),
    "mikvahs": (40, 1, 40, 1100, "editor", "admin"),
    "stores": (60, 1, 60, 1200, "editor", "admin"),
    "reviews": (138, 1, 138, 500, "user", "user"),
    "specials": (12, 1, 12, 400, "editor", "editor"),
}
FAMILY = f"/<any({','.join(SHAPES)}):family>"
NAMES = ["Jerusalem", "Olive", "Golden", "Cedar", "Galil", "Carmel"], ["Pizza", "Grill", "Sushi", "Cafe", "Bakery"]
WORDS = "the bread kitchen service was generous friendly quick and we will come back soon for a birthday dinner".split()
# Filter options: name, field and values. Clients may set these fields, and the texts.
CHOICES = {
    "cities": ("city", ["Miami Beach", "Surfside", "Aventura", "Hollywood", "Boca Raton"]),
    "agencies": ("certifying_agency", ["ORB", "OU", "Kosher Miami", "Star-K"]),
    "priceRanges": ("price_range", ["$", "$$", "$$$", "$$$$"]),
    "kosherCategories": ("kosher_category", ["meat", "dairy", "pareve"]),
}
WRITABLE = ["name", "title", "description", "content", *(field for field, _ in CHOICES.values())]
ALIASES = {"agency": "certifying_agency", "priceRange": "price_range"}
# Filters that would need opening hours or distances. Together, their values select 1/7 of the records.
IMITATED = ["ratingMin", "hoursFilter", "openNow", "created_after", "updated_after", "latitude", "longitude", "radius",
            "maxDistanceMi", "maxDistance", "distanceMi", "bounds"]
COUNTED = {"view": "view_count", "claim": "claims", "redeem": "redemptions"}  # by action


def generate(family, seed):
    count, first, last, size, *_ = SHAPES[family]
    for i in range(count):
        r, at = random.Random(f"{seed} {family} {i}"), (EPOCH + timedelta(hours=20 * i)).isoformat()
        row = {
            "id": first + i * (last - first) // (count - 1), "name": " ".join(map(r.choice, NAMES)), "status": "active",
            "rating": r.randint(32, 50) / 10, "view_count": r.randrange(5000), "created_at": at, "updated_at": at,
            **{field: r.choice(values) for field, values in CHOICES.values()}, "description": "",
        }
        if family == "reviews":
            row.update(entity_type="restaurant", entity_id=1464 + i // 2 * 3 * 436 // 206)
        missing = max(size + size // 16 * (i % 8) - size // 16 * 7 // 2 - len(json.dumps(row)), 0)
        row["description"] = " ".join(r.choices(WORDS, k=missing // 2 + 1))[:missing]
        yield row


LOCK = threading.Lock()  # gunicorn's threads share the data in one process
ROWS = {family: list(generate(family, os.environ.get("SEED", "0"))) for family in SHAPES}  # oldest first, under LOCK


def find(family, id):
    return next((row for row in ROWS[family] if row["id"] == id), None) or abort(404)


def tagged(**answer):
    """A 200 with a strong ETag. As in the real API, If-None-Match is ignored and the whole body sent again."""
    response = jsonify(success=True, **answer)
    response.add_etag()
    return response


def cut(rows, most):
    """A page of rows, by limit and either page or cursor."""
    limit, page, start = (max(request.args.get(name, 0, int), 0) for name in ("limit", "page", "cursor"))
    limit = min(limit or 20, most)
    start = start or max(page - 1, 0) * limit
    more = start + limit < len(rows)
    about = {"page": start // limit + 1, "limit": limit, "total_count": len(rows), "has_more": more,
             "next_cursor": str(start + limit) if more else None}
    return rows[start:start + limit], about


def options_of(family):
    return {name: sorted({row[field] for row in ROWS[family] if field in row}) for name, (field, _) in CHOICES.items()}


@api.get(FAMILY + "/")
def list_of(family):
    """Newest first. A parameter with the name of a field selects by its value; unknown parameters are ignored."""
    args = request.args
    salt = "&".join(f"{name}={args[name]}" for name in IMITATED if name in args)
    equal = {ALIASES.get(name, name): value.lower() for name, value in args.items() if value}
    with LOCK:
        rows = [
            row for row in reversed(ROWS[family])
            if all(str(row[field]).lower() == value for field, value in equal.items() if field in row)
            and args.get("search", "").lower() in row["name"].lower()
            and not (salt and zlib.crc32(f"{salt}{row['id']}".encode()) % 7 != 0)
        ]
        rows, about = cut(rows[::-1] if args.get("sort", "").endswith("_asc") else rows, 50)
        more = {"filterOptions": options_of(family)} if args.get("include_filter_options") == "true" else {}
        return tagged(data=rows, pagination=about, **more)


@api.get(FAMILY + "/filter-options")
def options(family):
    with LOCK:
        return jsonify(success=True, data=options_of(family))


@api.get(FAMILY + "/<int:id>")
def detail(family, id):
    with LOCK:
        return tagged(data=find(family, id))


@api.post(FAMILY + "/")
@api.route(FAMILY + "/<int:id>", methods=["PUT", "PATCH"])
def write(family, id=None):
    require(SHAPES[family][4])
    body, now = json_body(), datetime.now(timezone.utc).isoformat()
    changes = {field: body[field] for field in WRITABLE if field in body}
    if not changes or request.content_length > MAX_WRITE or not all(isinstance(v, str) for v in changes.values()):
        abort(400, "Validation failed")
    with LOCK:
        if id is None:
            if len(ROWS[family]) >= MAX_RECORDS:
                abort(409, "too many records")
            ROWS[family].append({
                "id": max((row["id"] for row in ROWS[family]), default=0) + 1, "name": "", "view_count": 0, "created_at": now})
        row = ROWS[family][-1] if id is None else find(family, id)
        row.update(changes, updated_at=now)
        return jsonify(success=True, data=row), 201 if id is None else 200


@api.delete(FAMILY + "/<int:id>")
def remove(family, id):
    require(SHAPES[family][5])
    with LOCK:
        ROWS[family].remove(find(family, id))
    return jsonify(success=True)


@api.post(FAMILY + "/<int:id>/<any(view,share,favorite,unfavorite,claim,redeem):action>")
def act(family, id, action):
    if action in ("claim", "redeem"):
        require("user" if action == "claim" else "editor")
    with LOCK:
        row = find(family, id)
        if field := COUNTED.get(action):
            row[field] = row.get(field, 0) + 1
        return jsonify(success=True, data={"id": id, "action": action})


@api.get("/search/")
@api.get("/search/<what>")
def search(what=""):
    needle = request.args.get("q", "").lower()
    with LOCK:
        families = [what] if what in ROWS else ROWS
        rows, about = cut([row for family in families for row in ROWS[family] if needle in row["name"].lower()], 100)
        data = {"suggestions": [row["name"] for row in rows]} if what == "suggest" else {"results": rows, "pagination": about}
        response = jsonify(success=True, data=data)
    response.headers["Cache-Control"] = "public, max-age=300"
    return response
