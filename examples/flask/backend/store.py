"""What the endpoints share: the data, the lock over it, the clock, and the form of answers."""

import functools
import hashlib
import os
import threading
from datetime import datetime, timezone

from flask import Response, request

from . import records
from .records import Record, encode, timestamp

MAX_RECORDS = 1000  # of a kind
SEED = int(os.environ.get("SEED", "0"))

# One lock over all data: gunicorn's threads share this module in one process.
LOCK = threading.RLock()

WRITABLE = [
    "name", "description", "short_description", "address", "city", "state", "zip_code", "phone_number", "email",
    "website", "image_url", "price_range", "kosher_category", "kosher_details", "certifying_agency", "status",
]

OPTIONS = {
    "agencies": "certifying_agency", "cities": "city", "states": "state", "kosherCategories": "kosher_category",
    "kosherDetails": "kosher_details", "listingTypes": "listing_type", "priceRanges": "price_range",
    "categories": "category", "denominations": "denomination",
}


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Collection:
    """The records of one kind."""

    def __init__(self, kind, single, rows):
        self.kind, self.single, self.rows = kind, single, rows
        self.next = rows[-1].id + 1

    def find(self, id):
        return next((p for p in self.rows if p.id == id), None)

    def create(self, body):
        changes = writable(body)
        if "name" not in changes:
            raise Refused(400, "no valid fields")
        if len(self.rows) >= MAX_RECORDS:
            raise Refused(409, "too many records")
        at = timestamp(now())
        p = Record({
            "id": self.next, "status": "active", "listing_type": self.single, "category": self.single,
            "rating": 0, "review_count": 0, "view_count": 0, "created_at": at, "updated_at": at, **changes,
        })
        self.next += 1
        self.rows.append(p)
        return p

    def values(self, field):
        return sorted({p.text(field) for p in self.rows} - {""})

    def filter_options(self):
        options = {name: self.values(field) for name, field in OPTIONS.items()}
        options = {name: values for name, values in options.items() if values}
        return {**options, "hoursOptions": ["openNow", "morning", "afternoon", "evening", "lateNight"]}


def writable(body):
    """The fields of body that a client may set. Others are ignored."""
    changes = {field: body[field] for field in WRITABLE if field in body}
    if not changes or any(not isinstance(v, str) or len(v.encode()) > 2000 for v in changes.values()):
        raise Refused(400, "no valid fields")
    return changes


def update(p, body):
    p.fields.update(writable(body), updated_at=timestamp(now()))


COLLECTIONS = {
    "restaurants": Collection("restaurants", "restaurant", records.make_restaurants(SEED)),
    "synagogues": Collection("synagogues", "synagogue", records.make_some(SEED + 10000, 149, records.make_synagogue)),
    "mikvahs": Collection("mikvahs", "mikvah", records.make_some(SEED + 20000, 40, records.make_mikvah)),
    "stores": Collection("stores", "store", records.make_some(SEED + 30000, 60, records.make_store)),
}


def now():
    return datetime.now(timezone.utc)


def open_at():
    """The time for which is_open is told: OPEN_AT keeps it still, so that a test is not surprised by closing time."""
    fixed = os.environ.get("OPEN_AT")
    return datetime.fromisoformat(fixed.replace("Z", "+00:00")) if fixed else now()


def locked(f):
    @functools.wraps(f)
    def run(*args, **kwargs):
        with LOCK:
            return f(*args, **kwargs)
    return run


def body():
    """The JSON object in the request, or an empty one."""
    value = request.get_json(force=True, silent=True)
    return value if isinstance(value, dict) else {}


def text(field):
    value = body().get(field)
    return value if isinstance(value, str) else ""


def reply(value, status=200, headers=None):
    return answer(encode(value), status, headers)


def answer(text, status=200, headers=None):
    return Response(text + "\n", status, headers, mimetype="application/json")


def success(data, status=200, headers=None):
    return reply({"success": True, "data": data}, status, headers)


def failure(status, message):
    return reply({"success": False, "error": message}, status)


def tagged(value):
    """A 200 with a strong ETag, which really is one, although requests with
    If-None-Match get the whole body again: so does the real API."""
    text = encode(value)
    return answer(text, headers={"ETag": f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'})
