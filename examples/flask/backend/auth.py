"""Users, logins, and the cookies that come with them."""

import base64
import functools
import hashlib
import hmac
import os
import secrets
import time

from flask import Blueprint, g, request

from . import tokens
from .records import encode
from .store import Refused, body, locked, reply, success, text

api = Blueprint("auth", __name__, url_prefix="/api/v5/auth")

ACCESS_LIFE, REFRESH_LIFE, CSRF_LIFE = 900, 30 * 24 * 3600, 3600  # seconds
REFRESH_EARLY = 120  # an access token with less to live is renewed on any GET
MAX_USERS = 1000
SIGNAL = "X-Gw-Session"  # tells the gateway of a login or a logout
LOGIN_LATENCY = float(os.environ.get("LOGIN_LATENCY_MS", "0")) / 1000

# Passwords are plain and known: this is a demonstration.
USERS = [
    {"id": "42", "email": "demo@example.org", "name": "Dina Demo", "password": "demo", "roles": ["editor"]},
    {"id": "1", "email": "admin@example.org", "name": "Adam Admin", "password": "admin", "roles": ["admin"]},
    {"id": "7", "email": "user@example.org", "name": "Uri User", "password": "user", "roles": ["user"]},
]


def may(user, role):
    """Whether a user has a role: "user" is everyone but guests, an admin may do everything."""
    if role == "user":
        return "guest" not in user["roles"]
    return role in user["roles"] or "admin" in user["roles"]


def allow(role):
    def wrap(f):
        @functools.wraps(f)
        def run(*args, **kwargs):
            if g.user is None:
                raise Refused(401, "Authentication required")
            if not may(g.user, role):
                raise Refused(403, "Insufficient permissions")
            return f(*args, **kwargs)
        return run
    return wrap


def user_of(id, roles):
    """The user with an id, or a guest or stranger of whom no more is known than the roles."""
    known = next((u for u in USERS if u["id"] == id), None)
    return known or {"id": id, "email": "", "name": "Guest", "password": "", "roles": roles}


def profile_of(user):
    return {field: user[field] for field in ("id", "email", "name", "roles")}


@locked
def authenticate():
    """Finds out who asks: by the gateway's signed header (identity.py), a bearer token or the cookie."""
    g.user = g.token = None
    if (identity := g.get("identity")) and identity["u"]:
        g.user = user_of(identity["u"], identity.get("r") or [])
        return
    header = request.headers.get("Authorization", "")
    token = header[7:] if header.startswith("Bearer ") else request.cookies.get("access_token", "")
    if claims := tokens.verify(token, "access"):
        g.token, g.user = claims, user_of(claims["sub"], claims["roles"])


def set_cookies(response, login):
    set_cookie(response, "access_token", login["access_token"], login["expires_in"])
    set_cookie(response, "refresh_token", login["refresh_token"], REFRESH_LIFE)


def clear_cookies(response):
    set_cookie(response, "access_token", "", 0)
    set_cookie(response, "refresh_token", "", 0)


def set_cookie(response, name, value, life):
    response.set_cookie(name, value, max_age=life, expires=None if life else 0, httponly=True, samesite="Lax")


def refresh_early(response):
    """A GET with an access token that ends soon is answered with new ones, whatever it asked for."""
    token = g.get("token")
    if token and request.method == "GET" and token["exp"] - int(time.time()) <= REFRESH_EARLY:
        set_cookies(response, new_tokens(g.user, ACCESS_LIFE))
    return response


def new_tokens(user, life):
    return {
        "access_token": tokens.sign("access", user, life),
        "refresh_token": tokens.sign("refresh", user, REFRESH_LIFE), "token_type": "Bearer", "expires_in": life,
    }


def with_tokens(user, status=200, life=ACCESS_LIFE, headers=None):
    """New tokens, in the body and as cookies."""
    login = new_tokens(user, life)
    response = success({"user": profile_of(user), "tokens": login}, status, headers)
    set_cookies(response, login)
    return response


def logged_in(user, status=200, life=ACCESS_LIFE):
    said = encode({"user": user["id"], "roles": user["roles"]})
    return with_tokens(user, status, life, {SIGNAL: f"login {said}"})


def logged_out(message, signal):
    response = success({"message": message}, headers={SIGNAL: signal})
    clear_cookies(response)
    return response


def equal(a, b):
    return hmac.compare_digest(a.encode(), b.encode())


@api.post("/login")
def login():
    """Takes email and password, and for tests expires_in, the life of the access token in seconds, at most 900."""
    time.sleep(LOGIN_LATENCY)  # as if a password were hashed; not under the lock
    return checked_login()


@locked
def checked_login():
    email, password, life = text("email"), text("password"), body().get("expires_in")
    for user in USERS:
        if user["email"] == email and equal(user["password"], password):
            short = isinstance(life, (int, float)) and life >= 1
            return logged_in(user, life=min(int(life), ACCESS_LIFE) if short else ACCESS_LIFE)
    raise Refused(401, "Invalid email or password")


@api.post("/register")
@locked
def register():
    email, password, name = text("email"), text("password"), text("name")
    if "@" not in email or not password or len((email + password + name).encode()) > 1000:
        raise Refused(400, "email and password required")
    if len(USERS) >= MAX_USERS or any(u["email"] == email for u in USERS):
        raise Refused(409, "email already registered")
    USERS.append({
        "id": str(100 + len(USERS)), "email": email, "name": name, "password": password, "roles": ["user"],
    })
    return logged_in(USERS[-1], 201)


@api.post("/guest")
@locked
def guest():
    """A user that exists in its token alone."""
    return with_tokens(user_of(f"guest-{secrets.token_hex(6)}", ["guest"]))


@api.post("/refresh")
@locked
def refresh():
    claims = tokens.verify(request.cookies.get("refresh_token") or text("refresh_token"), "refresh")
    if not claims:
        raise Refused(401, "Invalid refresh token")
    return with_tokens(user_of(claims["sub"], claims["roles"]))


@api.post("/logout")
def logout():
    return logged_out("Logged out", "logout")


@api.post("/change-password")
@allow("user")
@locked
def change_password():
    """Ends every session of the user, as far as it can: tokens cannot be taken back, the gateway's sessions can."""
    fresh = text("new_password")
    if not fresh or len(fresh.encode()) > 1000:
        raise Refused(400, "new_password required")
    if not equal(g.user["password"], text("current_password")):
        raise Refused(401, "Invalid password")
    g.user["password"] = fresh
    return logged_out("Password changed", "logout-all")


@api.get("/profile")
@api.get("/me")
@locked
def profile():
    if g.user is None:
        raise Refused(401, "Authentication required")
    return success({"user": profile_of(g.user)})


@api.get("/csrf")
def csrf():
    """A token bound to the client's address, as a proxy reports it, and to its user agent."""
    address = request.headers.get("X-Forwarded-For", request.remote_addr or "").split(",")[0].strip()
    nonce = secrets.token_hex(13)
    token = f"{nonce}.{tokens.mac(f'{nonce}|{address}|{request.user_agent}').hex()}"
    response = success({"csrf_token": token, "expires_in": CSRF_LIFE}, headers={"Cache-Control": "no-store"})
    set_cookie(response, "_csrf_token", token, CSRF_LIFE)
    return response


@api.get("/.well-known/jwks.json")
def jwks():
    """A key set of the real one's shape; no token of this backend is signed with it."""
    n = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(8))
    modulus = base64.urlsafe_b64encode(n).rstrip(b"=").decode()
    key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "demo", "e": "AQAB", "n": modulus}
    return reply({"keys": [key]}, headers={"Cache-Control": "public, max-age=300"})
