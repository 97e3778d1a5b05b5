"""A Flask application behind the gateway. docs/flask.md goes through it step by step."""

import hashlib
import json
import os
import secrets
import time

from flask import Flask, Response, abort, g, jsonify, request, session
from werkzeug.middleware.proxy_fix import ProxyFix

import chat
import identity

app = Flask(__name__)
app.config.update(SECRET_KEY=os.urandom(32), SESSION_COOKIE_SAMESITE="Lax", MAX_CONTENT_LENGTH=64 << 20)
app.config.from_prefixed_env()  # FLASK_SECRET_KEY and the like
app.before_request(identity.before_request)

# The gateway replaces X-Forwarded-For and X-Forwarded-Proto by what it knows: one value each.
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1)

if "SESSION_TYPE" in app.config:  # Flask-Session, whose cookie is an ID alone
    from flask_session import Session
    Session(app)

PASSWORDS = {"dina": ("secret", ["editor"]), "noam": ("secret", [])}  # a demonstration
PRODUCTS = [{"id": n, "name": f"Product {n}"} for n in range(1, 51)]


@app.get("/healthz")
def healthz():
    return "ok"


# --- Who is calling ------------------------------------------------------------------------------

def signal(response, verb, **argument):
    """Tells the gateway what becomes of the session. It never reaches the browser."""
    response.headers["X-Gw-Session"] = f"{verb} {json.dumps(argument)}" if argument else verb
    return response


@app.post("/login")
def login():
    user = request.form.get("user", "")
    password, roles = PASSWORDS.get(user, ("", []))
    if not password or not same(password, request.form.get("password")):
        abort(401)
    return signal(jsonify(user=user), "login", user=user, roles=roles)


@app.post("/logout")
def logout():
    session.clear()
    return signal(jsonify(goodbye=True), "logout-all" if "everywhere" in request.form else "logout")


@app.get("/me")
def me():
    if not g.identity:
        abort(401)
    return jsonify(user=g.identity["u"], roles=g.identity["r"], address=request.remote_addr, secure=request.is_secure)


# --- The same for everyone, so the gateway caches it ---------------------------------------------

@app.get("/products")
def products():
    page = max(request.args.get("page", 1, int), 1)
    response = jsonify(page=page, products=PRODUCTS[10 * page - 10:10 * page])
    response.headers["Cache-Control"] = "public, max-age=60"
    return response


@app.post("/products")
def add_product():
    check_csrf()
    if not g.identity or "editor" not in g.identity["r"]:
        abort(403)
    PRODUCTS.insert(0, {"id": max(p["id"] for p in PRODUCTS) + 1, "name": request.form.get("name", "")[:99]})
    del PRODUCTS[200:]
    return jsonify(PRODUCTS[0]), 201


@app.get("/greeting")
def greeting():
    """Reads the session, so Flask adds Vary: Cookie."""
    return jsonify(hello=session.get("name", "stranger"))


# --- Flask's own session: a basket, and a token against forged forms -----------------------------

@app.get("/basket")
def basket():
    session.setdefault("csrf", secrets.token_hex(16))
    return jsonify(basket=session.get("basket", []), csrf=session["csrf"])


@app.post("/basket")
def fill_basket():
    check_csrf()
    session["basket"] = session.get("basket", []) + [request.form.get("product", "")[:99]]
    return jsonify(basket=session["basket"])


def check_csrf():
    if not session.get("csrf") or not same(session["csrf"], request.form.get("csrf")):
        abort(400, "the form is too old, or another site's")


def same(secret, given):
    """Compares in a time that tells nothing of the secret."""
    return secrets.compare_digest(secret.encode(), (given or "").encode())


# --- Bodies and connections that last -------------------------------------------------------------

@app.post("/upload")
def upload():
    """Reads an upload as it arrives."""
    digest, size = hashlib.sha256(), 0
    while chunk := request.stream.read(64 << 10):
        digest.update(chunk)
        size += len(chunk)
    return jsonify(bytes=size, sha256=digest.hexdigest())


@app.get("/events")
def events():
    """Server-sent events. Last-Event-ID says what a client that reconnects has."""
    def stream(n):
        while True:
            yield f"id: {n}\ndata: event {n}\n\n"
            n += 1
            time.sleep(0.5)
    return Response(stream(request.headers.get("Last-Event-ID", 0, int) + 1), mimetype="text/event-stream")


@app.get("/chat", websocket=True)
def talk():
    """A WebSocket that sends back what it gets."""
    return chat.serve(request, lambda text: f"{(g.identity or {}).get('u') or 'somebody'}: {text}")
