#!/usr/bin/env bash
# Follows the README's first steps on an empty machine: a new Debian with Go, git,
# make and curl. First `make run` and the curl lines that it prints, then the commands
# of docs/deploy.md for systemd, then `make test`, which must install the rest by
# itself. Run it as root.
# Usage: scripts/fresh.sh [--worktree] [run|deploy|test]
#   --worktree  test the files in the working tree, not the last commit
#   run, ...    only that step
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n==> %s\n' "$*"; }
fail() {
  echo "fresh: $*" >&2
  exit 1
}
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# inside runs a command on the new machine. Of this one's environment it only
# keeps the settings for Go modules.
inside() {
  local limit=$1
  shift
  timeout "$limit" chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 \
    PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    GOPROXY="file:///mnt/modules,$(go env GOPROXY)" GOSUMDB="$(go env GOSUMDB)" \
    ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
    ${no_proxy:+no_proxy="$no_proxy"} "$@"
}

mount_all() {
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mkdir -p "$root/mnt/modules" "$(go env GOMODCACHE)/cache/download"
  mount --bind "$(go env GOMODCACHE)/cache/download" "$root/mnt/modules"
  mount -o remount,bind,ro "$root/mnt/modules"
}

checkout() {
  if [ "$mode" = --worktree ]; then
    mkdir -p "$root/src/gateway"
    git ls-files -z --cached --others --exclude-standard |
      while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done |
      tar --null -T - -c | tar -x --no-same-owner -C "$root/src/gateway"
    return
  fi
  [ -z "$(git status --porcelain)" ] || echo "fresh: what is not committed is left out (see --worktree)"
  git clone -q --no-hardlinks . "$root/src/gateway"
}

# try_run starts the demo, runs the curl lines that it prints, and stops it.
try_run() {
  local out=$root/src/run.log lines=() line pid
  ! answers 8080 || fail "port 8080 is taken: the demo needs it"
  inside 1200 make -C /src/gateway run >"$out" 2>&1 &
  local run=$!
  for ((i = 0; i < 600; i++)); do
    mapfile -t lines < <(grep -E '^  curl ' "$out")
    [ ${#lines[@]} -lt 7 ] || ! answers 8080 || break
    kill -0 "$run" 2>/dev/null || break
    sleep 1
  done
  cat "$out"
  [ ${#lines[@]} -eq 7 ] || fail "make run printed ${#lines[@]} curl lines, not 7"
  for line in "${lines[@]}"; do
    say "${line#  }"
    inside 60 /bin/bash -o pipefail -c "cd /src/gateway && $line" >"$root/src/curl.log" 2>&1 ||
      { cat "$root/src/curl.log"; fail "that line failed"; }
    [ -s "$root/src/curl.log" ] || fail "that line showed nothing"
    head -c 1500 "$root/src/curl.log"
  done
  say "SIGTERM to the gateway"
  pid=$(pgrep -x gateway) || fail "no gateway runs"
  kill -TERM "$pid"
  wait "$run" || fail "make run ended with status $?"
  echo "it ended with status 0"
}

# try_deploy types the commands of docs/deploy.md. The test plays systemd, since PID 1 here is this script.
try_deploy() {
  for port in 80 443 5000 9901; do ! answers "$port" || fail "port $port is taken"; done
  GOPROXY="file:///mnt/modules,$(go env GOPROXY)" GOSUMDB="$(go env GOSUMDB)" GATEWAY_FRESH_ROOT=$root \
    timeout 1200 go test -count=1 -v -run '^TestDeployPage$' ./cmd/gateway
}

if [ "${1:-}" != --inside ]; then
  [ "$(id -u)" -eq 0 ] || fail "to be run as root: it makes a machine with chroot"
  scripts/deps.sh fresh
  root=$(mktemp -d)
  chmod 755 "$root" # a machine's root is readable for everyone
  trap 'rm -rf --one-file-system "$root"' EXIT
  scripts/debian-root.sh "$root" git make curl
  # In its own namespaces: however this ends, all processes in there end too, and
  # all mounts are gone before the folder is removed.
  unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
    "$PWD/scripts/fresh.sh" --inside "$root" "$@"
  exit
fi

root=$2
shift 2
mode=
if [ "${1:-}" = --worktree ]; then
  mode=$1
  shift
fi
steps=${*:-run deploy test}
mount_all
checkout
for step in $steps; do
  say "$step"
  case $step in
  run) try_run ;;
  deploy) try_deploy ;;
  test) inside 2400 make -C /src/gateway test ;;
  *) fail "unknown step $step" ;;
  esac
done
say "fresh: passed"
