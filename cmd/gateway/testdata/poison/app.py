"""An application with every fault that poisons caches: it mirrors what it is sent, and cares little where."""

import posixpath
import secrets

from flask import Flask, Response, abort, request

app = Flask(__name__)

# What a strict page reads of a request, and says so. That an origin says it is all that a strict cache can ask for.
SAID = ("Accept", "Accept-Encoding", "Accept-Language", "Cookie", "Origin", "Referer", "User-Agent", "X-Custom", "X-Status")
# What frameworks take for the request's own host, scheme, path or method. No origin says Vary for these.
BELIEVED = ("Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Scheme",
            "X-Forwarded-Server", "X-Forwarded-For", "X-Host", "X-Original-Url", "X-Original-Host", "X-Rewrite-Url", "X-Http-Method-Override",
            "X-Http-Method", "X-Method-Override", "X-Script-Name", "X-Real-Ip", "Via", "Range", "If-Range",
            "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Content-Type")
VERBS = ["GET", "POST", "PUT", "PATCH", "DELETE", "QUERY", "PURGE"]


def private():
    """The victim's data, for whoever has the victim's cookie, token or session."""
    return (request.cookies.get("sid") == "victim" or request.headers.get("Authorization") == "Bearer victim"
            or "X-Gw-Identity" in request.headers)


def account():
    if not private():
        return Response("page %s: who are you?\n" % request.path, 401)
    response = Response("page %s: the secret of the victim\n" % request.path)
    if request.path.startswith("/strict/"):
        response.headers["Cache-Control"] = "max-age=300"  # not public, which would be for all, tokens or not
    return response


def link():
    """An address of the site's own, made of whatever the request says of it."""
    h = request.headers
    host = h.get("X-Forwarded-Host") or h.get("X-Host") or h.get("X-Original-Host") or h.get("X-Forwarded-Server") or request.host
    path = h.get("X-Original-Url") or h.get("X-Rewrite-Url") or request.full_path
    return "%s://%s%s%s" % (h.get("X-Forwarded-Proto", "http"), host, h.get("X-Forwarded-Prefix", ""), path)


def mirror():
    strict = request.path.startswith("/strict/")
    lines = ["page %s" % request.path, "host %s" % request.host, "link %s" % link(), "method %s" % request.method]
    lines += ["%s: %s" % (k, v) for k, v in request.headers if not strict or k in SAID + BELIEVED]
    lines += ["parameter %r is %r" % (k, v) for k, vs in request.args.lists() for v in vs]
    lines.append("body %r" % request.get_data(cache=False))
    return Response("\n".join(lines) + "\n")


@app.before_request
def odd():
    """Some servers choke on what others let pass: the error is the attacker's, and must stay so."""
    for name, value in request.headers:
        if "broken" in value or len(value) > 4000 or name == "X-Status":
            return Response("the evil %s breaks this page\n" % name, int(request.headers.get("X-Status", "400")))
    if request.get_data().startswith(b"broken"):
        return Response("the evil body breaks this page\n", 500)
    if request.headers.get("If-None-Match") == "*":
        return Response(status=304, headers={"X-Evil": "evil"})
    if posixpath.normpath(request.path.replace("\\", "/")).lstrip("/").partition("/")[0] == "account":
        return account()


@app.after_request
def said(response):
    if request.path.startswith("/strict/") and response.status_code != 431:
        response.headers.setdefault("Cache-Control", "public, max-age=300")
        response.headers.setdefault("Vary", ", ".join(SAID))
    if "Origin" in request.headers:
        response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
    return response


@app.get("/healthz")
def healthz():
    return "up"


@app.post("/auth/login")
def login():
    return Response("welcome\n", headers={"X-Gw-Session": 'login {"user":"victim"}'})


@app.route("/account/<path:rest>")
@app.route("/account<string:rest>")
@app.route("/static/account.css")
@app.route("/cached/account/<rest>")
@app.route("/strict/account/<rest>")
@app.route("/user/me<rest>")
def accounts(rest=""):
    return account()


@app.route("/user/<int:user>", methods=VERBS)
@app.route("/cached/<path:rest>", methods=VERBS)
@app.route("/learned/<path:rest>")
@app.route("/params/<path:rest>")
@app.route("/static/<path:rest>")
@app.route("/strict/<path:rest>", methods=VERBS)
def anything(**parts):
    return mirror()


@app.route("/cached/slash/<rest>/")
def slash(rest):
    return mirror()


@app.route("/cached/how/<how>/<rest>")
@app.route("/strict/how/<how>/<rest>")
@app.route("/learned/how/<how>/<rest>")
def once(how, rest):
    """A response that is of one request alone, for one of many reasons."""
    response = Response("page %s\nnonce %s\n" % (request.path, secrets.token_hex(8)))
    if how == "cookie":
        response.set_cookie("sid", secrets.token_hex(8))
    elif how in ("private", "no-store"):
        response.headers["Cache-Control"] = how
    elif how == "star":
        response.headers["Vary"] = "*"
    elif how == "failed":
        response.status_code = 503
    elif how == "limited":
        response.status_code = 429
    elif how == "unsaid":
        response.headers["Cache-Control"] = "max-age=300"
    elif how.startswith("vary-"):
        response = mirror()
        response.headers["Vary"] = how[5:]
    else:
        abort(404)
    return response
