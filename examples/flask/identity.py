"""Reads the user's identity from the gateway: all that a Flask application needs.

The gateway sends X-Gw-Identity: v1.<kid>.<payload>.<mac>. payload and mac are base64url without
padding; mac is HMAC-SHA256 over everything before its dot. payload is JSON: method m, user id u,
roles r, session hash s, and exp, its expiry in Unix seconds. IDENTITY_KEYS names the key file, with
lines of kid:base64key; it is read for each request, since keys are rotated.
"""

import base64, hashlib, hmac, json, os, time
from flask import g, request


def before_request():
    g.identity = None
    head, _, mac = request.headers.get("X-Gw-Identity", "").rpartition(".")
    if not mac or not os.path.exists(os.environ.get("IDENTITY_KEYS", "")):
        return
    version, kid, payload = (head.split(".") + ["", ""])[:3]
    with open(os.environ["IDENTITY_KEYS"]) as file:
        key = dict(line.strip().split(":", 1) for line in file if ":" in line).get(kid)
    sum = hmac.new(base64.b64decode(key or ""), head.encode(), hashlib.sha256).digest()
    if version == "v1" and key and hmac.compare_digest(base64.urlsafe_b64encode(sum).rstrip(b"="), mac.encode()):
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        g.identity = claims if claims["m"] == request.method and claims["exp"] > time.time() else None
