"""An application that knows nothing of the gateway: Flask's own signed session, or with
FLASK_SESSION_TYPE that of Flask-Session, and no more."""

import os

from flask import Flask, abort, request, session

app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]
app.config.from_prefixed_env()
if "SESSION_TYPE" in app.config:
    from flask_session import Session

    Session(app)


@app.get("/healthz")
def healthz():
    return "up"


@app.post("/login")
def login():
    session.permanent = True
    session["user"] = request.form["user"]
    return "welcome"


@app.get("/me")
def me():
    return session.get("user") or abort(401)


@app.post("/logout")
def logout():
    session.clear()
    return "goodbye"


@app.get("/cookies")
def cookies():
    return request.headers.get("Cookie", "")
