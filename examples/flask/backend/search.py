"""Search over all kinds. Anyone may keep an answer for five minutes."""

from flask import Blueprint, request

from .filters import LIST_LIMIT, SEARCH_LIMIT, choose, cut, page, positive
from .store import COLLECTIONS, Refused, locked, open_at, success

api = Blueprint("search", __name__, url_prefix="/api/v5/search")


def searched(data):
    return success(data, headers={"Cache-Control": "public, max-age=300"})


@api.get("/", strict_slashes=False)
@api.get("/<kind>")
@locked
def search(kind=None):
    wanted = [kind] if kind else request.args.getlist("types")
    if any(name not in COLLECTIONS for name in wanted):
        raise Refused(400, "Invalid entity type")
    now = open_at()
    offset, limit = page(request.args, SEARCH_LIMIT)
    needle = request.args.get("q", "").strip().lower()
    hits = [
        p
        for name, collection in COLLECTIONS.items() if not wanted or name in wanted
        for p in choose(collection.rows, request.args, now) if p.contains(needle)
    ]
    rows, about = cut(hits, offset, limit)
    return searched({"query": request.args.get("q", ""), "results": [p.row(now) for p in rows], "pagination": about})


@api.get("/suggest")
@locked
def suggest():
    needle = request.args.get("q", "").strip().lower()
    limit = min(positive(request.args.get("limit"), 10), LIST_LIMIT)
    names = [p.text("name") for c in COLLECTIONS.values() for p in c.rows if needle in p.text("name").lower()]
    return searched({"suggestions": list(dict.fromkeys(names))[:limit] if len(needle) >= 2 else []})


@api.get("/filters")
@locked
def filters():
    return searched({kind: collection.filter_options() for kind, collection in COLLECTIONS.items()})


@api.get("/popular")
def popular():
    return searched({"popular_searches": ["pizza", "sushi", "shawarma", "bagels", "miami beach", "glatt"]})
