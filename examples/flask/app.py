"""A Flask application in the shape of JewGo's API, with generated data in memory."""

import os
import time

from flask import Flask, request
from werkzeug.exceptions import HTTPException

import identity
from backend import auth, entities, probes, reviews, search, specials
from backend.filters import BadCursor
from backend.store import Refused, failure

LATENCY = float(os.environ.get("LATENCY_MS", "0")) / 1000

app = Flask(__name__, static_folder=None)
for part in (entities, search, reviews, specials, auth, probes):
    app.register_blueprint(part.api)

app.before_request(probes.count)
app.before_request(identity.before_request)
app.before_request(auth.authenticate)
app.after_request(auth.refresh_early)


@app.before_request
def delay():
    if LATENCY and request.path.startswith("/api/"):
        time.sleep(LATENCY)


@app.before_request
def limit_body():
    if (request.content_length or 0) > probes.MAX_BODY:
        return failure(413, "Body too large")


@app.errorhandler(Refused)
def refused(error):
    return failure(error.status, str(error))


@app.errorhandler(BadCursor)
def bad_cursor(error):
    return failure(400, str(error))


@app.errorhandler(HTTPException)
def http_error(error):
    if error.code is None or error.code < 400:  # a redirect
        return error
    response = failure(error.code, error.name)
    if error.code == 405:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or []))
    return response
