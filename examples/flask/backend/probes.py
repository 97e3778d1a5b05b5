"""Health, what a gateway must deny, and what tests look through."""

import hashlib
import time

from flask import Blueprint, Response, g, request

from .auth import allow
from .filters import positive
from .store import LOCK, Refused, reply, success

api = Blueprint("probes", __name__)
ALL = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
MAX_BODY = 1 << 20  # bytes of a request's body that are read
MAX_STATS = 10_000  # different methods and paths that are counted

counts = {}  # requests by method and path, under LOCK


def count():
    if request.path == "/__stats":
        return
    key = f"{request.method} {request.path}"
    with LOCK:
        if key not in counts and len(counts) >= MAX_STATS:
            key = "other"
        counts[key] = counts.get(key, 0) + 1


@api.get("/__stats")
def stats():
    """How many requests have come, by method and path. It does not count itself."""
    with LOCK:
        return reply({"requests": counts})


@api.get("/healthz")
@api.get("/readyz")
@api.get("/health")
def healthy():
    return reply({"status": "healthy", "version": "5.0"})


@api.get("/api/v5/feature-flags/", strict_slashes=False)
def feature_flags():
    return success(
        {"advanced_search": True, "reviews": True, "specials": True, "dark_mode": False, "marketplace": False})


@api.route("/api/v5/debug/<path:rest>", methods=ALL)
def debug(rest):
    """Open to everyone, which a gateway must not be."""
    return success({"secrets": {"database_url": "postgres://demo:secret@db/demo"}})


@api.route("/admin/<path:rest>", methods=ALL)
@api.route("/monitoring/<path:rest>", methods=ALL)
@api.route("/api/v5/admin/<path:rest>", methods=ALL)
@api.route("/api/v5/monitoring/<path:rest>", methods=ALL)
@allow("admin")
def restricted(rest):
    return success({"path": request.path, "user": g.user["id"]})


def hashed():
    """Length and SHA-256 of the body, byte for byte as it came."""
    length, sum = 0, hashlib.sha256()
    while chunk := request.stream.read(65536):
        length += len(chunk)
        if length > MAX_BODY:
            raise Refused(413, "Body too large")
        sum.update(chunk)
    return {"length": length, "sha256": sum.hexdigest()}


@api.post("/webhook/<path:rest>")
@api.post("/api/v5/webhook/<path:rest>")
def webhook(rest):
    return reply({"success": True, **hashed()})


@api.route("/api/v5/echo", methods=ALL)
def echo():
    """The request as it came in; RAW_URI is gunicorn's."""
    path, _, query = request.environ.get("RAW_URI", request.full_path).partition("?")
    return reply({
        "method": request.method, "path": path, "query": query, "headers": dict(request.headers), **hashed(),
    })


@api.get("/api/v5/stream")
def stream():
    """Sends n events, ms milliseconds apart, each as soon as it is there."""
    n = min(positive(request.args.get("n"), 5), 1000)
    pause = min(positive(request.args.get("ms"), 50), 1000) / 1000

    def events():
        for i in range(n):
            if i:
                time.sleep(pause)
            yield f"data: {i}\n\n"

    return Response(events(), mimetype="text/event-stream", headers={"Cache-Control": "no-store"})
