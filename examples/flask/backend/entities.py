"""Restaurants, synagogues, mikvahs and stores."""

from flask import Blueprint, request

from .auth import allow
from .filters import LIST_LIMIT, choose, cut, location, miles, page
from .records import number
from .store import COLLECTIONS, Refused, body, locked, open_at, success, tagged, update

api = Blueprint("entities", __name__, url_prefix="/api/v5")
KIND = "<any(restaurants,synagogues,mikvahs,stores):kind>"


def found(kind, id):
    collection = COLLECTIONS[kind]
    p = collection.find(id)
    if p is None:
        raise Refused(404, f"{collection.single.capitalize()} not found")
    return p


@api.get(f"/{KIND}")
@locked
def list_of(kind):
    collection, now = COLLECTIONS[kind], open_at()
    offset, limit = page(request.args, LIST_LIMIT)
    rows, about = cut(choose(collection.rows, request.args, now), offset, limit)
    start = location(request.args)
    data = [p.row(now) if not start else {**p.row(now), "distance": number(miles(start, p))} for p in rows]
    answer = {"success": True, "data": data, "pagination": about}
    if request.args.get("include_filter_options") == "true":
        answer["filterOptions"] = collection.filter_options()
    return tagged(answer)


@api.get(f"/{KIND}/filter-options")
@locked
def options(kind):
    return success(COLLECTIONS[kind].filter_options())


@api.get(f"/{KIND}/<int:id>")
@locked
def detail(kind, id):
    return tagged({"success": True, "data": found(kind, id).whole(open_at())})


@api.post(f"/{KIND}")
@allow("editor")
@locked
def create(kind):
    return success(COLLECTIONS[kind].create(body()).whole(open_at()), 201)


@api.put(f"/{KIND}/<int:id>")
@allow("editor")
@locked
def change(kind, id):
    p = found(kind, id)
    update(p, body())
    return success(p.whole(open_at()))


@api.delete(f"/{KIND}/<int:id>")
@allow("admin")
@locked
def remove(kind, id):
    COLLECTIONS[kind].rows.remove(found(kind, id))
    return success({"id": id})


@api.post(f"/{KIND}/<int:id>/view")
@locked
def view(kind, id):
    """Counts a view, which details and lists show."""
    p = found(kind, id)
    p.fields["view_count"] += 1
    return success({"id": id, "view_count": p.fields["view_count"]})


@api.post(f"/{KIND}/<int:id>/<any(share,favorite,unfavorite):action>")
@locked
def act(kind, id, action):
    """Leaves no trace in the data."""
    return success({"id": found(kind, id).id, "action": action})
