"""Reads the user's identity from the gateway: all that a Flask application needs.

The gateway sends X-Gw-Identity: v1.<kid>.<payload>.<mac>. payload and mac are base64url without
padding; mac is HMAC-SHA256 over everything before its dot. payload is JSON: method m, user id u,
roles r, session hash s, and exp, its expiry in Unix seconds. IDENTITY_KEYS names the key file, with
lines of kid:base64key; it is read for each request, since keys are rotated.
"""

import base64, hashlib, hmac, json, os, time
from flask import current_app, g, request


def before_request():
    g.identity, header = None, request.headers.get("X-Gw-Identity")
    try:
        g.identity = header and verified(header)
    except (KeyError, OSError, ValueError) as error:
        current_app.logger.warning("X-Gw-Identity is not accepted: %r", error)


def verified(header):
    head, _, mac = header.rpartition(".")
    version, kid, payload = head.split(".")
    with open(os.environ["IDENTITY_KEYS"]) as file:
        keys = dict(line.strip().split(":", 1) for line in file if ":" in line)
    sum = hmac.new(base64.b64decode(keys[kid]), head.encode(), hashlib.sha256).digest()
    if version != "v1" or not hmac.compare_digest(base64.urlsafe_b64encode(sum).rstrip(b"="), mac.encode()):
        raise ValueError("the signature is wrong")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    if claims["m"] != request.method or claims["exp"] <= time.time():
        raise ValueError("it is of another method, or too old")
    return claims
