"""Gunicorn behind the gateway: `gunicorn app:app` in this folder reads this file."""

import os

bind = os.environ.get("BIND", "127.0.0.1:5000")

# Streams and WebSockets hold a thread each for as long as they last.
worker_class = "gthread"
workers = int(os.environ.get("WORKERS", "1"))  # the example keeps its products in memory
threads = int(os.environ.get("THREADS", "16"))

# Longer than the gateway keeps idle connections (upstreams.X.idle, 1m), so that it never sends a
# request into one that gunicorn is closing.
keepalive = 75

# Requests in flight may end when gunicorn stops; the same as the gateway's drain.
graceful_timeout = 20

# Whose X-Forwarded-Proto counts: the gateway's address, if it is on another machine.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")

loglevel = os.environ.get("LOG_LEVEL", "warning")
