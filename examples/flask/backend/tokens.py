"""JSON Web Tokens (RFC 7519) with HMAC-SHA256."""

import base64
import hashlib
import hmac
import json
import os
import secrets
import time

SECRET = os.environ.get("SECRET_KEY", "").encode() or os.urandom(32)


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


HEAD = encode(b'{"alg":"HS256","typ":"JWT"}')


def mac(text):
    return hmac.new(SECRET, text.encode(), hashlib.sha256).digest()


def sign(kind, user, life):
    """A token of a kind, "access" or "refresh", that lives so many seconds."""
    now = int(time.time())
    claims = {
        "sub": user["id"], "roles": user["roles"], "type": kind, "iat": now, "exp": now + life,
        "jti": secrets.token_hex(13),
    }
    text = f"{HEAD}.{encode(json.dumps(claims, separators=(',', ':')).encode())}"
    return f"{text}.{encode(mac(text))}"


def verify(token, kind):
    """The claims of a token of that kind which is ours and has not expired, or None."""
    text, _, sum = token.rpartition(".")
    if not text.startswith(HEAD + ".") or not hmac.compare_digest(sum.encode(), encode(mac(text)).encode()):
        return None
    claims = json.loads(decode(text[len(HEAD) + 1:]))
    return claims if claims["type"] == kind and claims["exp"] > time.time() else None
