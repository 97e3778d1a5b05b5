"""A Flask application in the shape of JewGo's API, with generated data in memory."""

import hashlib

from flask import Flask, jsonify, request
from werkzeug.exceptions import HTTPException

import auth
import families
import identity

MAX_STATS = 10_000  # bound on distinct methods and paths in counts
ALL = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
counts = {}  # requests by method and path, under families.LOCK

app = Flask(__name__, static_folder=None)
app.config["MAX_CONTENT_LENGTH"] = 1 << 20
app.url_map.strict_slashes = False
app.register_blueprint(auth.api)
app.register_blueprint(families.api)
app.before_request(identity.before_request)
app.before_request(auth.authenticate)
app.after_request(auth.refresh_early)


@app.before_request
def count():
    key = f"{request.method} {request.path}"
    if request.path != "/__stats":
        with families.LOCK:
            key = key if key in counts or len(counts) < MAX_STATS else "other"
            counts[key] = counts.get(key, 0) + 1


@app.errorhandler(HTTPException)
def http_error(error):
    response = error.get_response()  # with its headers, such as Allow
    if error.code and error.code >= 400:
        response.data, response.mimetype = jsonify(success=False, error=error.description).data, "application/json"
    return response


@app.get("/__stats")
def stats():
    """Request counts, without requests for itself."""
    with families.LOCK:
        return jsonify(requests=counts)


@app.get("/healthz")
@app.get("/readyz")
@app.get("/health")
def healthy():
    return jsonify(status="healthy", version="5.0")


@app.route("/api/v5/debug/<path:rest>", methods=ALL)
def debug(rest):
    """Open to everyone; a gateway must not forward it."""
    return jsonify(database_url="postgres://demo:secret@db/demo")


@app.route("/api/v5/echo", methods=ALL)
@app.post("/webhook/<path:rest>")
@app.post("/api/v5/webhook/<path:rest>")
def echo(rest=""):
    """The request as it arrived; RAW_URI comes from gunicorn."""
    body = request.get_data()
    return jsonify(
        method=request.method, target=request.environ.get("RAW_URI"), headers=dict(request.headers),
        length=len(body), sha256=hashlib.sha256(body).hexdigest())
