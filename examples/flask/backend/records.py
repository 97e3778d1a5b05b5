"""The generated records: the same for the same seed, on any machine."""

import json
from datetime import datetime, timedelta, timezone

from .hours import NEVER, Hours, clock
from .rand import Rand
from .tables import (
    AGENCIES, CITIES, DENOMINATIONS, DISHES, FEATURES, FIRST_NAMES, KITCHENS, LAST_NAMES, NUSACHS, OPENERS,
    PREDICATES, PREFIXES, SHUL_NAMES, STORE_KINDS, STREETS, SUBJECTS, TAILS,
)

RESTAURANTS, MEAT, DAIRY = 207, 95, 82
FIRST_ID, LAST_ID = 1464, 1900
ROW_SIZE, ROW_SPREAD = 4640, 1700  # bytes of JSON of a restaurant in a list
EPOCH = datetime(2025, 3, 1, 8, tzinfo=timezone.utc)
WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday"]


class Record:
    """One restaurant, synagogue, mikvah or store."""

    def __init__(self, fields, hours=NEVER):
        self.id = fields["id"]
        self.fields = fields  # as in lists
        self.extra = {}  # what a detail has besides
        self.hours = hours

    def row(self, now):
        return {**self.fields, "is_open": self.hours.open(now)}

    def whole(self, now):
        return {**self.row(now), **self.extra}

    def text(self, field):
        value = self.fields.get(field)
        return value if isinstance(value, str) else ""

    def number(self, field):
        return self.fields.get(field) or 0

    def contains(self, needle):
        return any(
            needle in self.text(field).lower()
            for field in ("name", "description", "address", "city", "certifying_agency")
        )


def encode(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def number(value):
    """A number as JSON writes it elsewhere: 4 and not 4.0."""
    return int(value) if value == int(value) else value


def timestamp(at):
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def sentence(r):
    return f"{r.pick(OPENERS)} {r.pick(SUBJECTS)} {r.pick(PREDICATES)}, {r.pick(TAILS)}."


def person(r):
    return f"{r.pick(FIRST_NAMES)} {r.pick(LAST_NAMES)}"


def make_place(r, i, id, kind, name):
    """What all kinds have in common. The first twenty are in one city each."""
    city = CITIES[i % len(CITIES)]
    if i >= len(CITIES):  # the first cities have most places
        city = CITIES[min(r.below(len(CITIES)), r.below(len(CITIES)))]
    city_name, state, zip_code, area, lat, lng, utc, zone = city
    hours = Hours.make(r, utc)
    slug = name.lower().replace(" ", "-")
    created = EPOCH + timedelta(seconds=i * 72000 + r.below(72000))
    updated = created + timedelta(seconds=r.below(2592000))
    return Record({
        "id": id, "name": name, "status": "active", "submission_status": "approved",
        "address": f"{100 + r.below(9800)} {r.pick(STREETS)}", "city": city_name, "state": state,
        "zip_code": "%s%02d" % (zip_code, r.below(100)),
        "phone_number": "(%s) 555-01%02d" % (area, r.below(100)),
        "email": f"info@{slug}.example", "website": f"https://www.{slug}.example/",
        "latitude": number((lat + r.below(120001) - 60000) / 1e6),
        "longitude": number((lng + r.below(120001) - 60000) / 1e6),
        "timezone": zone,
        "certifying_agency": r.pick(AGENCIES),
        "hours_json": hours.json(), "hours_of_operation": hours.text(), "is_open": False,
        "instagram_link": f"https://instagram.example/{slug}",
        "facebook_link": f"https://facebook.example/{slug}",
        "owner_name": person(r),
        "view_count": r.below(5000),
        "created_at": timestamp(created), "updated_at": timestamp(updated),
        "image_url": f"https://images.example/{kind}/{id}/1.jpg",
    }, hours)


def make_restaurants(seed):
    r = Rand(seed)
    categories = ["meat"] * MEAT + ["dairy"] * DAIRY + ["pareve"] * (RESTAURANTS - MEAT - DAIRY)
    for i in range(len(categories) - 1, 0, -1):
        j = r.below(i + 1)
        categories[i], categories[j] = categories[j], categories[i]
    rows, spread = [], 0
    for i, category in enumerate(categories):
        r = Rand(seed + 1000 + i)
        row = make_restaurant(r, i, category)
        # Neighbours differ from the mean by as much, so that a page of any
        # part of the list, newest first, has the same size.
        spread = r.below(ROW_SPREAD) if i % 2 else -spread
        fill_reviews(r, row.fields, ROW_SIZE + spread)
        rows.append(row)
    return rows


def make_restaurant(r, i, category):
    id = FIRST_ID + i * (LAST_ID - FIRST_ID) // (RESTAURANTS - 1)
    name = f"{r.pick(PREFIXES)} {r.pick(KITCHENS[category])}"
    row = make_place(r, i, id, "restaurants", name)
    dish, other = r.pick(DISHES[category]), r.pick(DISHES[category])
    cholov = category == "dairy" and r.below(2) == 0
    details = {"meat": "Glatt", "dairy": "Cholov Stam", "pareve": "Pas Yisroel"}[category]
    if cholov:
        details = "Cholov Yisroel"
    dollars = 1 + r.below(4)
    images = [f"https://images.example/restaurants/{id}/{n}.jpg" for n in range(1, 5)]
    rating, reviews = number((32 + r.below(18)) / 10), 8 + r.below(900)
    row.fields.update({
        "kosher_category": category, "kosher_details": details,
        "is_cholov_yisroel": cholov, "is_glatt": category == "meat", "is_pas_yisroel": r.below(2) == 0,
        "listing_type": "restaurant", "category": "restaurant", "business_types": ["restaurant", category],
        "price_range": "$" * dollars,
        "min_avg_meal_cost": 9 * dollars, "max_avg_meal_cost": 9 * dollars + 12,
        "rating": rating, "star_rating": rating, "google_rating": rating,
        "quality_rating": number((30 + r.below(20)) / 10),
        "review_count": reviews, "google_review_count": reviews + r.below(300),
        "google_listing_url": f"https://maps.example/?cid={1000000000 + r.below(1000000000)}",
        "short_description": f"Known for {dish} and {other}.",
        "description": f"{name} serves {dish}, {other} and more. {sentence(r)} {sentence(r)}",
        "images": images, "business_images": images[1:], "image_url": images[0],
        "features": [r.pick(FEATURES), r.pick(FEATURES), r.pick(FEATURES)],
        "specials": [
            {"title": f"{5 + 5 * r.below(5)}% off {dish}", "day": r.pick(WEEKDAYS)} for _ in range(r.below(3))
        ],
        "google_reviews": "",
    })
    row.extra = {"menu_highlights": [
        {"name": dish, "price": 7 + r.below(30), "note": sentence(r)},
        {"name": other, "price": 7 + r.below(30), "note": sentence(r)},
    ]}
    return row


def fill_reviews(r, fields, target):
    """Writes google_reviews, JSON in a string as JewGo's database has it, so
    long that the whole row has target bytes. Texts are plain ASCII: a
    character is a byte of JSON."""
    reviews, text = [], ""
    missing = target - len(encode(fields)) - len("[]")
    while missing > 0:
        if not reviews or missing > 200:
            text = sentence(r)
            want = 120 + r.below(260)
            while len(text) < want:
                text += " " + sentence(r)
            review = {
                "author": person(r), "rating": 3 + r.below(3), "text": text,
                "time": f"{1 + r.below(50)} weeks ago",
            }
            missing -= len(encode(encode(review))) - len('""') + (1 if reviews else 0)  # a comma
            reviews.append(review)
        else:
            more = f" {sentence(r)} {sentence(r)} {sentence(r)}"
            text += more
            missing -= len(more)
        if missing < 0:
            text = text[:max(len(text) + missing, 0)]
        reviews[-1]["text"] = text
    fields["google_reviews"] = encode(reviews)


def make_some(seed, n, one):
    """n records with ids from 1, each from a seed of its own."""
    return [one(Rand(seed + i), i, i + 1) for i in range(n)]


def make_synagogue(r, i, id):
    row = make_place(r, i, id, "synagogues", f"{r.pick(SHUL_NAMES)} of {r.pick(PREFIXES)}")
    row.fields.update({
        "listing_type": "synagogue", "category": "synagogue",
        "denomination": r.pick(DENOMINATIONS), "nusach": r.pick(NUSACHS),
        "rabbi": f"Rabbi {person(r)}",
        "capacity": 60 + r.below(600), "has_mikvah": r.below(4) == 0, "has_parking": r.below(2) == 0,
        "shacharit": clock(375 + 15 * r.below(8)), "mincha": clock(795 + 15 * r.below(8)),
        "maariv": clock(1140 + 15 * r.below(8)),
        "rating": number((38 + r.below(12)) / 10), "review_count": r.below(120),
        "description": f"{sentence(r)} {sentence(r)}",
    })
    return row


def make_mikvah(r, i, id):
    row = make_place(r, i, id, "mikvahs", f"Mikvah {r.pick(SHUL_NAMES)}")
    row.fields.update({
        "listing_type": "mikvah", "category": "mikvah", "appointment_required": r.below(2) == 0,
        "fee": 18 + r.below(30), "rating": number((40 + r.below(10)) / 10), "review_count": r.below(60),
        "description": sentence(r),
    })
    return row


def make_store(r, i, id):
    kind = r.pick(STORE_KINDS)
    row = make_place(r, i, id, "stores", f"{r.pick(PREFIXES)} {kind}")
    row.fields.update({
        "listing_type": "store", "category": kind, "price_range": "$" * (1 + r.below(4)),
        "rating": number((34 + r.below(16)) / 10), "review_count": r.below(300),
        "description": f"{sentence(r)} {sentence(r)}",
    })
    return row
