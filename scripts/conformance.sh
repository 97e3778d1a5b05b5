#!/usr/bin/env bash
# Runs HTTP cache conformance cases against the gateway in strict mode, and
# prints what passed. The cases and their runner are a Go program of their own,
# in the folder that CACHECONF_DIR names; without it nothing is run.
# Usage: CACHECONF_DIR=DIR scripts/conformance.sh [flags of the runner]
set -euo pipefail
cd "$(dirname "$0")/.."

cases=${CACHECONF_DIR:-}
if [ -z "$cases" ] || [ ! -f "$cases/cases.json" ]; then
  echo "conformance: no cases here; CACHECONF_DIR names the folder with cases.json and its runner"
  exit 0
fi

scratch=$(mktemp -d)
gateway=
cleanup() {
  if [ -n "$gateway" ]; then
    kill -TERM "$gateway" 2>/dev/null || true
    wait "$gateway" 2>/dev/null || true
  fi
  rm -rf "$scratch"
}
trap cleanup EXIT

(cd "$cases" && go build -o "$scratch/cacheconf" .)
cat >"$scratch/gateway.yaml" <<'POLICY'
version: 1
log: {access: off}
upstreams: {origin: {targets: ["http://127.0.0.1:20800"]}}
cache: {store_set_cookie: true}
routes:
  - name: all
    match: {path: "/{rest...}"}
    upstream: origin
    cache: {mode: strict}
POLICY
env -u REDIS_URL -u REDIS_HOST -u CACHE_REDIS_URL ./bin/gateway run --config "$scratch/gateway.yaml" --listen 127.0.0.1:0 --admin 127.0.0.1:0 >"$scratch/log" 2>&1 &
gateway=$!
url=
for ((i = 0; i < 100; i++)); do
  url=$(sed -nE 's/.*"msg":"serving".*"url":"([^"]*)".*/\1/p' "$scratch/log")
  [ -z "$url" ] || break
  kill -0 "$gateway" 2>/dev/null || break
  sleep 0.1
done
if [ -z "$url" ]; then
  echo "conformance: the gateway does not serve:" >&2
  cat "$scratch/log" >&2
  exit 2
fi
"$scratch/cacheconf" -tests "$cases/cases.json" -proxy "$url" "$@"
