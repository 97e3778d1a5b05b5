#!/usr/bin/env bash
# Runs `gateway drill redis` with configs/gateway.yaml in front of the real
# Flask, and a redis-server of the drill's own.
# Usage: scripts/drill.sh [flags of gateway drill redis]
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/deps.sh test
scratch=$(mktemp -d)
flask=
cleanup() {
  if [ -n "$flask" ]; then
    kill -QUIT "$flask" 2>/dev/null || true
    wait "$flask" 2>/dev/null || true
  fi
  rm -rf "$scratch"
}
trap cleanup EXIT

# The port is free now; should somebody take it meanwhile, gunicorn says so.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd examples/flask && PYTHONDONTWRITEBYTECODE=1 BIND=127.0.0.1:$port exec gunicorn --config gunicorn.conf.py app:app) >"$scratch/flask.log" 2>&1 &
flask=$!
for ((i = 0; i < 100; i++)); do
  curl -sf -o /dev/null "http://127.0.0.1:$port/healthz" && break
  kill -0 "$flask" 2>/dev/null || break
  sleep 0.1
done
curl -sf -o /dev/null "http://127.0.0.1:$port/healthz" || {
  echo "drill: Flask does not answer:" >&2
  cat "$scratch/flask.log" >&2
  exit 2
}

UPSTREAM_URL=http://127.0.0.1:$port REDIS_URL='' GATEWAY_COOKIE_NAME=gw GATEWAY_COOKIE_SECURE=false \
  ./bin/gateway drill redis --config configs/gateway.yaml "$@"
