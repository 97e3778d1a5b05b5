"""Answers what werkzeug makes of request targets, as under gunicorn.

The first line of standard input is a JSON list of rules: endpoint, rule, methods, strict_slashes. Each
other line is a list of requests: method and target. The answer to it is one line, a list with the
endpoint, or why there is none in parentheses; the arguments; and the pairs of the query.
"""

import json
import sys
import urllib.parse

from werkzeug.datastructures import Headers
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, RequestRedirect, Rule
from werkzeug.sansio.request import Request

HEADERS = Headers()


def split(target):
    """Path and query of a target, by gunicorn.util.split_request_uri."""
    if target.startswith("//"):
        parts = urllib.parse.urlsplit("." + target)
        return parts.path[1:], parts.query
    parts = urllib.parse.urlsplit(target)
    return parts.path or "", parts.query or ""


def answer(adapter, method, target):
    raw, query = split(target)
    path_info = urllib.parse.unquote_to_bytes(raw).decode("latin-1")  # as gunicorn's unquote_to_wsgi_str
    path = path_info.encode("latin-1").decode(errors="replace")  # as werkzeug's bind_to_environ
    try:
        endpoint, arguments = adapter.match(path, method)
    except RequestRedirect:
        endpoint, arguments = "(redirect)", {}
    except MethodNotAllowed:
        endpoint, arguments = "(method)", {}
    except NotFound:
        endpoint, arguments = "(none)", {}
    query = query.replace(";", "&")  # Pythons before 3.9.2 split there too, and the gateway cannot know which it is
    try:
        request = Request(method, "http", None, "", path, query.encode("latin-1"), HEADERS, None)
        pairs = list(request.args.items(multi=True))
    except UnicodeError:
        endpoint, pairs = "(error)", []
    return endpoint, {name: str(value) for name, value in arguments.items()}, pairs


def main():
    rules = [Rule(rule, endpoint=endpoint, methods=methods, strict_slashes=strict)
             for endpoint, rule, methods, strict in json.loads(sys.stdin.readline())]
    adapter = Map(rules).bind("app.test")
    for line in sys.stdin:
        sys.stdout.write(json.dumps([answer(adapter, *request) for request in json.loads(line)]) + "\n")
        sys.stdout.flush()


main()
