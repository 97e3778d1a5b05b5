"""Filtering, sorting and paging of records by a query."""

import base64
import binascii
import math

DEFAULT_LIMIT, LIST_LIMIT, SEARCH_LIMIT = 20, 50, 100
KM_PER_MILE = 1.609344

EQUAL = {
    "status": "status", "category": "category", "city": "city", "agency": "certifying_agency",
    "certifying_agency": "certifying_agency", "kosher_category": "kosher_category",
    "listing_type": "listing_type", "priceRange": "price_range", "kosherDetails": "kosher_details",
}


class BadCursor(ValueError):
    pass


def conditions(args, now):
    """The conditions of a query. What cannot be parsed is ignored, and so is an unknown parameter."""
    for parameter, field in EQUAL.items():
        if wanted := args.get(parameter, "").lower():
            yield lambda p, f=field, w=wanted.split(","): p.text(f).lower() in w
    for parameter, field in (("created_after", "created_at"), ("updated_after", "updated_at")):
        if after := args.get(parameter):
            yield lambda p, f=field, a=after: p.text(f) > a
    if needle := args.get("search", "").strip().lower():
        yield lambda p: p.contains(needle)
    least = real(args, "ratingMin")
    if least is not None:
        yield lambda p: p.number("rating") >= least
    part = args.get("hoursFilter")
    if args.get("openNow") == "true" or part == "openNow":
        yield lambda p: p.hours.open(now)
    elif part:
        yield lambda p: p.hours.during(part)
    yield from nearby(args)


def nearby(args):
    """radius is in kilometres, the distances in miles, bounds are south,west,north,east in degrees."""
    if start := location(args):
        for parameter, km in (
            ("radius", 1), ("maxDistanceMi", KM_PER_MILE), ("maxDistance", KM_PER_MILE), ("distanceMi", KM_PER_MILE),
        ):
            most = real(args, parameter)
            if most is not None:
                yield lambda p, m=most * km: distance(start, p) <= m
    try:
        south, west, north, east = map(float, args.get("bounds", "").split(","))
    except ValueError:
        return
    yield lambda p: south <= p.number("latitude") <= north and west <= p.number("longitude") <= east


def location(args):
    lat, lng = real(args, "latitude"), real(args, "longitude")
    return None if lat is None or lng is None else (lat, lng)


def distance(start, p):
    """Kilometres on the great circle, by the haversine formula."""
    lat, lng = p.number("latitude"), p.number("longitude")
    sin_lat = math.sin(math.radians(lat - start[0]) / 2)
    sin_lng = math.sin(math.radians(lng - start[1]) / 2)
    h = sin_lat**2 + math.cos(math.radians(start[0])) * math.cos(math.radians(lat)) * sin_lng**2
    return 2 * 6371 * math.asin(math.sqrt(min(h, 1)))


def miles(start, p):
    return math.floor(distance(start, p) / KM_PER_MILE * 100 + 0.5) / 100


def real(args, name):
    try:
        value = float(args.get(name, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def choose(rows, args, now):
    """The rows that a query asks for, newest first unless it says otherwise."""
    wanted = list(conditions(args, now))
    kept = [p for p in rows if all(ok(p) for ok in wanted)]
    kept.sort(key=lambda p: p.id, reverse=True)
    field, _, order = args.get("sort", "").rpartition("_")
    start = location(args)
    if field == "distance" and start:
        kept.sort(key=lambda p: distance(start, p), reverse=order == "desc")
    elif field in ("rating", "view_count"):
        kept.sort(key=lambda p: p.number(field), reverse=order == "desc")
    elif field in ("name", "updated_at"):
        kept.sort(key=lambda p: p.text(field), reverse=order == "desc")
    elif order == "asc":
        kept.reverse()
    return kept


def positive(text, otherwise):
    try:
        n = int(text)
    except (TypeError, ValueError):
        return otherwise
    return n if n > 0 else otherwise


def cursor(offset):
    return base64.urlsafe_b64encode(str(offset).encode()).rstrip(b"=").decode()


def page(args, most):
    """Reads limit, page and cursor into an offset and a limit; a cursor wins over a page."""
    limit = min(positive(args.get("limit"), DEFAULT_LIMIT), most)
    offset = (min(positive(args.get("page"), 1), 1_000_000) - 1) * limit
    if text := args.get("cursor"):
        try:
            offset = positive(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True), -1)
        except (binascii.Error, ValueError):
            offset = -1
        if offset < 0:
            raise BadCursor("invalid cursor")
    return offset, limit


def cut(rows, offset, limit):
    """The rows of a page and its description for the client."""
    total = len(rows)
    start, end = min(offset, total), min(offset + limit, total)
    return rows[start:end], {
        "page": offset // limit + 1, "limit": limit, "total_count": total,
        "total_pages": (total + limit - 1) // limit, "has_more": end < total,
        "next_cursor": cursor(end) if end < total else None,
        "prev_cursor": cursor(offset - limit) if offset > limit else None,
    }
