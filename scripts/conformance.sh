#!/usr/bin/env bash
# Runs HTTP cache conformance cases against the gateway in strict mode, and
# prints what passed. It makes three passes, since the results must not depend
# on where responses are stored: only in memory; only in Redis; in both, with a
# Redis that is stopped half-way. The cases and their runner are a separate Go
# program in the folder CACHECONF_DIR; without it nothing is run.
# Usage: CACHECONF_DIR=DIR scripts/conformance.sh [flags of the runner]
# Exit status: 0 if every pass succeeded, 1 if one failed, 2 if one could not run.
set -euo pipefail
cd "$(dirname "$0")/.."

cases=${CACHECONF_DIR:-}
if [ -z "$cases" ] || [ ! -f "$cases/cases.json" ]; then
  echo "conformance: no cases here; CACHECONF_DIR names the folder with cases.json and its runner"
  exit 0
fi
command -v redis-server >/dev/null || { echo "conformance: redis-server is missing; make deps installs it" >&2; exit 2; }

scratch=$(mktemp -d)
gateway= redis= stopper=
stop() { # ends a process of this script, even a stopped one
  [ -n "$1" ] || return 0
  kill -CONT "$1" 2>/dev/null || true
  kill -TERM "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}
end_pass() { stop "$stopper"; stop "$gateway"; stop "$redis"; gateway= redis= stopper=; }
trap 'end_pass; rm -rf "$scratch"' EXIT

fail() { # says why a pass could not run
  echo "conformance: $1" >&2
  cat "$scratch/log" >&2
  exit 2
}

# start_redis starts a Redis that only listens on a unix socket.
start_redis() {
  redis-server --port 0 --unixsocket "$scratch/redis.sock" --dir "$scratch" --save '' --appendonly no >"$scratch/redis.log" 2>&1 &
  redis=$!
  for ((i = 0; i < 100; i++)); do
    [ "$(redis-cli -s "$scratch/redis.sock" ping 2>/dev/null)" = PONG ] && return
    sleep 0.1
  done
  cat "$scratch/redis.log" >&2
  exit 2
}

# await PATTERN waits for a line of the gateway's log.
await() {
  for ((i = 0; i < 100; i++)); do
    ! grep -q "$1" "$scratch/log" || return 0
    kill -0 "$gateway" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}

# start_gateway MEMORY REDIS_URL BUDGET starts the gateway, and sets url.
start_gateway() {
  cat >"$scratch/gateway.yaml" <<POLICY
version: 1
log: {access: off}
redis: {url: "$2", budget: $3}
upstreams: {origin: {targets: ["http://127.0.0.1:20800"]}}
cache: {memory: $1, store_set_cookie: true}
routes:
  - name: all
    match: {path: "/{rest...}"}
    upstream: origin
    cache: {mode: strict}
POLICY
  env -u REDIS_URL -u REDIS_HOST -u CACHE_REDIS_URL ./bin/gateway run --config "$scratch/gateway.yaml" --listen 127.0.0.1:0 --admin 127.0.0.1:0 >"$scratch/log" 2>&1 &
  gateway=$!
  [ -z "$redis" ] || await '"msg":"redis is in use"' || fail "the gateway does not use Redis:"
  await '"msg":"serving"' || fail "the gateway does not serve:"
  url=$(sed -nE 's/.*"msg":"serving".*"url":"([^"]*)".*/\1/p' "$scratch/log")
}

verdict=0
run_cases() { "$scratch/cacheconf" -tests "$cases/cases.json" -proxy "$url" "$@" || verdict=1; }

(cd "$cases" && go build -o "$scratch/cacheconf" .)

echo "== responses in memory alone"
start_gateway 64MiB memory:// 50ms
began=$(date +%s%N)
run_cases "$@"
half=$((($(date +%s%N) - began) / 2000000))
end_pass

# The budget is long, so that a busy machine does not cause misses.
echo "== responses in Redis alone"
start_redis
start_gateway 0 "unix://$scratch/redis.sock" 500ms
run_cases "$@"
[ "$(redis-cli -s "$scratch/redis.sock" dbsize)" -gt 1 ] || fail "nothing came into Redis:"
end_pass

echo "== responses in both, Redis stopped after $half ms"
start_redis
start_gateway 64MiB "unix://$scratch/redis.sock" 50ms
(sleep "$((half / 1000)).$(printf %03d $((half % 1000)))" && kill -STOP "$redis") &
stopper=$!
run_cases "$@"
grep -q '"msg":"redis is unavailable' "$scratch/log" || fail "the gateway did not notice that Redis was stopped:"

exit "$verdict"
