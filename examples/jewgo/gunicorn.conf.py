"""Gunicorn's configuration: `gunicorn app:app` in this folder reads this file."""

import os
import sys

bind = os.environ.get("BIND", "127.0.0.1:5000")
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flask"))  # identity.py

# The data is in memory, so there is one process; threads share it under a lock.
workers = 1
worker_class = "gthread"
threads = int(os.environ.get("THREADS", "16"))

# Longer than the gateway keeps idle connections, so that the gateway closes them and never sends a
# request into a closing one.
keepalive = 120

graceful_timeout = 5
loglevel = os.environ.get("LOG_LEVEL", "warning")
