"""A WSGI application that writes down each request that it gets, a line each."""

import os

WATCHED = ("HTTP_X_A", "HTTP_X_B", "HTTP_X_GW_USER", "HTTP_X_GW_IDENTITY", "HTTP_X_REAL_IP", "HTTP_X_ORIGINAL_URL",
           "HTTP_X_REWRITE_URL", "HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_FORWARDED_PREFIX", "HTTP_SCRIPT_NAME",
           "HTTP_TE", "HTTP_UPGRADE", "HTTP_PROXY", "HTTP_KEEP_ALIVE", "HTTP_TRANSFER_ENCODING", "HTTP_MAX_FORWARDS")


def app(environ, start_response):
    target = environ["RAW_URI"]
    if target != "/healthz":
        line = environ["REQUEST_METHOD"] + " " + target
        if environ["HTTP_HOST"] != "a.test":
            line += " host=" + environ["HTTP_HOST"]
        for name in WATCHED:
            if name in environ and (name, environ[name]) != ("HTTP_TRANSFER_ENCODING", "chunked"):
                line += " " + name[5:].lower().replace("_", "-") + "=" + environ[name]
        try:
            body = environ["wsgi.input"].read().decode("latin-1")
        except Exception as e:  # the client, or the gateway, has gone
            body = "(incomplete) %r" % e
        if body:
            line += " |" + body.replace("\r", "\\r").replace("\n", "\\n")
        with open(os.environ["SEEN"], "a") as seen:
            seen.write(line + "\n")
    start_response("200 OK", [("Content-Length", "3")])
    return [b"ok\n"]
