"""Offers of restaurants."""

from datetime import timedelta

from flask import Blueprint, request

from .auth import allow
from .filters import positive
from .rand import Rand
from .records import EPOCH, WEEKDAYS, sentence, timestamp
from .store import COLLECTIONS, SEED, Refused, body, locked, now, success, text

api = Blueprint("specials", __name__, url_prefix="/api/v5/specials")
MAX_SPECIALS = 500
YEAR = timedelta(days=365)


def make_specials():
    restaurants, rows = COLLECTIONS["restaurants"].rows, []
    for i in range(12):
        r = Rand(SEED + 50000 + i)
        p = r.pick(restaurants)
        off = 5 + 5 * r.below(6)
        at = EPOCH + timedelta(days=10 * i)
        rows.append({
            "id": i + 1, "restaurant_id": p.id, "restaurant_name": p.text("name"), "discount_percent": off,
            "title": f"{off}% off on {r.pick(WEEKDAYS)}s", "description": sentence(r),
            "active": True, "claims": r.below(40), "redemptions": r.below(20),
            "starts_at": timestamp(at), "ends_at": timestamp(at + YEAR),
        })
    return rows


SPECIALS = make_specials()  # the id is the index and one


def found(id):
    if not 1 <= id <= len(SPECIALS):
        raise Refused(404, "Special not found")
    return SPECIALS[id - 1]


@api.get("/", strict_slashes=False)
@locked
def list_specials():
    wanted = positive(request.args.get("restaurant_id"), None)
    return success([v for v in SPECIALS if wanted is None or v["restaurant_id"] == wanted])


@api.get("/<int:id>")
@locked
def special(id):
    return success(found(id))


@api.post("/", strict_slashes=False)
@allow("editor")
@locked
def create():
    p = COLLECTIONS["restaurants"].find(body().get("restaurant_id"))
    title, about = text("title"), text("description")
    if p is None or not title or len((title + about).encode()) > 2000:
        raise Refused(400, "Validation failed")
    if len(SPECIALS) >= MAX_SPECIALS:
        raise Refused(409, "too many records")
    v = {
        "id": len(SPECIALS) + 1, "restaurant_id": p.id, "restaurant_name": p.text("name"), "discount_percent": 0,
        "title": title, "description": about, "active": True, "claims": 0, "redemptions": 0,
        "starts_at": timestamp(now()), "ends_at": timestamp(now() + YEAR),
    }
    SPECIALS.append(v)
    return success(v, 201)


@api.patch("/<int:id>")
@allow("editor")
@locked
def change(id):
    v = found(id)
    changes = {f: text(f) for f in ("title", "description") if 0 < len(text(f).encode()) <= 2000}
    if isinstance(body().get("active"), bool):
        changes["active"] = body()["active"]
    if not changes:
        raise Refused(400, "no valid fields")
    v.update(changes)
    return success(v)


def count(id, field):
    v = found(id)
    v[field] += 1
    return success({"id": id, field: v[field]})


@api.post("/<int:id>/claim")
@allow("user")
@locked
def claim(id):
    return count(id, "claims")


@api.post("/<int:id>/redeem")
@allow("editor")
@locked
def redeem(id):
    return count(id, "redemptions")
