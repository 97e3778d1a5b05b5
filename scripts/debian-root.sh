#!/usr/bin/env bash
# Makes a Debian bookworm in a folder, with this machine's Go and network settings
# and only the given packages. Run it as root.
# Usage: scripts/debian-root.sh DIR [PACKAGE...]
set -euo pipefail
root=${1:?a folder}
shift

# The mirror is DEBIAN_MIRROR, or else the one that this machine uses for the same
# release, or else debootstrap's default.
mirror=${DEBIAN_MIRROR:-}
if [ -z "$mirror" ] && command -v apt-get >/dev/null; then
  # shellcheck disable=SC2016 # apt expands these
  mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk '$1 == "bookworm" && $2 == "main" { print $3; exit }')
fi
include=$(IFS=,; echo "ca-certificates${*:+,}$*")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "debian-root: bookworm with ${include//,/, }"
if ! debootstrap --variant=minbase --include="$include" bookworm "$root" ${mirror:+"$mirror"} >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  exit 1
fi

# Network settings: DNS, a proxy for apt, certificates of a local proxy.
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
if command -v apt-config >/dev/null; then
  apt-config dump | grep -iE '^Acquire::https?::Proxy' >"$root/etc/apt/apt.conf.d/90host" || true
fi
for certificate in /usr/local/share/ca-certificates/*.crt; do
  [ -e "$certificate" ] && cp -L "$certificate" "$root/usr/local/share/ca-certificates/"
done
chroot "$root" update-ca-certificates >/dev/null 2>&1

mkdir -p "$root/usr/local/go"
cp -a "$(go env GOROOT)/." "$root/usr/local/go/"
