#!/usr/bin/env bash
# Installs what a task needs beside Go with apt-get if it runs as root.
# Otherwise it prints the commands to run, and fails.
# Usage: scripts/deps.sh test|slow|field|image|fresh
set -euo pipefail
task=${1:-test}

have() { command -v "$1" >/dev/null 2>&1; }

# gunicorn_has checks the interpreter that gunicorn runs on, which may not be the
# first python3 in PATH.
gunicorn_has() { have gunicorn && (cd / && gunicorn --check-config "$1") >/dev/null 2>&1; }

links_c() { printf '#include <stdlib.h>\nint main(void){return 0;}' | gcc -x c -o /dev/null - >/dev/null 2>&1; }

# missing prints the Debian packages that are not installed.
missing() {
  local packages=()
  case $task in
  test)
    have redis-server || packages+=(redis-server)
    gunicorn_has flask:Flask || packages+=(python3-flask gunicorn)
    gunicorn_has flask_session:Session || packages+=(python3-flask-session)
    gunicorn_has wsproto:WSConnection || packages+=(python3-wsproto)
    { have gcc && links_c; } || packages+=(gcc libc6-dev) # for the race detector
    have git || packages+=(git)
    have curl || packages+=(curl)
    have haproxy || packages+=(haproxy)
    have chromium || have google-chrome || packages+=(chromium)
    { have prometheus && have promtool; } || packages+=(prometheus)
    have systemd-analyze || packages+=(systemd) # checks the units, and runs nothing
    ;;
  slow)
    have slowhttptest || packages+=(slowhttptest)
    ;;
  field)
    have wrk || packages+=(wrk) # the other servers only play where they are installed
    ;;
  image)
    if have docker && docker info >/dev/null 2>&1; then return; fi
    have buildah || packages+=(buildah)
    have debootstrap || packages+=(debootstrap)
    ;;
  fresh)
    have debootstrap || packages+=(debootstrap)
    have git || packages+=(git)
    ;;
  *)
    echo "deps: unknown task $task" >&2
    return 2
    ;;
  esac
  echo "${packages[*]}"
}

# install_packages runs apt-get without starting services: the tests start redis-server
# on their own ports, and the default port may be in use.
install_packages() {
  local policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    trap 'rm -f '$policy EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
  fi
  export DEBIAN_FRONTEND=noninteractive
  local log
  log=$(mktemp)
  if ! {
    apt-get update -qq &&
      apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
  } </dev/null >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

if ! have go; then
  echo "deps: install Go 1.26 or newer first: https://go.dev/doc/install" >&2
  exit 1
fi
wanted=$(missing)
if [ -z "$wanted" ]; then
  exit 0
fi
command="apt-get update && apt-get install -y --no-install-recommends $wanted"
if ! have apt-get || [ "$(id -u)" -ne 0 ]; then
  echo "deps: missing; on Debian or Ubuntu run:" >&2
  echo "  sudo sh -c '$command'" >&2
  exit 1
fi
echo "deps: $command"
read -ra list <<<"$wanted"
install_packages "${list[@]}"
left=$(missing)
if [ -n "$left" ]; then
  echo "deps: installed, and still not found: $left" >&2
  echo "  another gunicorn or python3 earlier in PATH hides Debian's: put /usr/bin first" >&2
  exit 1
fi
