"""Users, logins and their cookies."""

import json
import os
import secrets
import time

from flask import Blueprint, abort, g, jsonify, request
from itsdangerous import BadData, URLSafeSerializer

api = Blueprint("auth", __name__, url_prefix="/api/v5/auth")

ACCESS_LIFE, REFRESH_LIFE, CSRF_LIFE = 900, 30 * 24 * 3600, 3600  # seconds
REFRESH_EARLY = 120  # seconds before its end in which any GET renews an access token
TOKENS = URLSafeSerializer(os.environ.get("SECRET_KEY") or os.urandom(32))

# Passwords are plain and known: this is a demonstration.
USERS = [
    {"id": "42", "email": "demo@example.org", "password": "demo", "roles": ["editor"]},
    {"id": "1", "email": "admin@example.org", "password": "admin", "roles": ["admin"]},
    {"id": "7", "email": "user@example.org", "password": "user", "roles": ["user"]},
]


def require(role):
    """Refuses users without a role. Every logged-in user has the role "user"; an admin may do everything."""
    if g.user is None:
        abort(401, "Authentication required")
    if role != "user" and role not in g.user["roles"] and "admin" not in g.user["roles"]:
        abort(403, "Insufficient permissions")


def authenticate():
    """Sets g.user from the gateway's signed header (identity.py) or from the cookie."""
    g.user, g.expires = None, None
    if g.identity and g.identity["u"]:
        g.user = user_of(g.identity["u"], g.identity.get("r") or [])
        return
    try:
        claims = TOKENS.loads(request.cookies.get("access_token", ""))
    except BadData:
        return
    if claims["kind"] == "access" and claims["exp"] > time.time():
        g.user, g.expires = user_of(claims["user"], []), claims["exp"]


def user_of(id, roles):
    """The user with an id, or an unknown user with these roles."""
    return next((u for u in USERS if u["id"] == id), None) or {"id": id, "email": "", "roles": roles}


def set_cookies(response, user, access_life, refresh_life=REFRESH_LIFE):
    """Sets new tokens as cookies; a life of 0 deletes the cookie."""
    for kind, life in (("access", access_life), ("refresh", refresh_life)):
        claims = {"user": user and user["id"], "kind": kind, "exp": int(time.time()) + life, "id": secrets.token_hex(8)}
        set_cookie(response, f"{kind}_token", TOKENS.dumps(claims) if life else "", life)
    return response


def set_cookie(response, name, value, life):
    response.set_cookie(name, value, max_age=life, expires=None if life else 0, httponly=True, samesite="Lax")


def refresh_early(response):
    """Adds new tokens to the response of any GET whose access token expires soon."""
    if request.method == "GET" and g.get("expires") and g.expires - time.time() <= REFRESH_EARLY:
        set_cookies(response, g.user, ACCESS_LIFE)
    return response


def json_body():
    """The JSON object in the request."""
    body = request.get_json(force=True)
    return body if isinstance(body, dict) else abort(400, "A JSON object expected")


@api.post("/login")
def login():
    """Takes email, password and, for tests, expires_in: the life of the access token in seconds, at most 900."""
    body, life = json_body(), ACCESS_LIFE
    if isinstance(body.get("expires_in"), int):
        life = min(max(body["expires_in"], 1), ACCESS_LIFE)
    for user in USERS:
        if (user["email"], user["password"]) == (body.get("email"), body.get("password")):
            response = profile_of(user)
            said = json.dumps({"roles": user["roles"], "user": user["id"]}, separators=(",", ":"))
            response.headers["X-Gw-Session"] = f"login {said}"
            return set_cookies(response, user, life)
    abort(401, "Invalid email or password")


@api.post("/logout")
def logout():
    return logged_out("logout")


@api.post("/change-password")
def change_password():
    """Ends the user's gateway sessions; tokens cannot be revoked."""
    require("user")
    body = json_body()
    if not body.get("new_password") or g.user.get("password") != body.get("current_password"):
        abort(400, "current_password and new_password required")
    g.user["password"] = str(body["new_password"])
    return logged_out("logout-all")


def logged_out(signal):
    g.expires = None
    response = jsonify(success=True)
    response.headers["X-Gw-Session"] = signal
    return set_cookies(response, None, 0, 0)


@api.get("/profile")
@api.get("/me")
def profile():
    require("user")
    return profile_of(g.user)


def profile_of(user):
    return jsonify(success=True, data={"user": {field: user[field] for field in ("id", "email", "roles")}})


@api.get("/csrf")
def csrf():
    token = secrets.token_urlsafe(24)
    response = jsonify(success=True, data={"csrf_token": token, "expires_in": CSRF_LIFE})
    response.headers["Cache-Control"] = "no-store"
    set_cookie(response, "_csrf_token", token, CSRF_LIFE)
    return response
