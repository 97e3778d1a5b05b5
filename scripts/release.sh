#!/usr/bin/env bash
# Builds the static binaries of a release into bin/release (or RELEASE_DIR), with their checksums. The same
# source and the same Go give the same bytes, wherever they are built.
# Usage: scripts/release.sh VERSION PLATFORM...
#   VERSION   such as v1.2.3; `gateway version`, the logs and gateway_build_info tell it
#   PLATFORM  such as linux/amd64
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:-}
shift || true
if ! [[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
  echo "release: bad version \"$version\": want one like v1.2.3, as in make release VERSION=v1.2.3" >&2
  exit 2
fi
if [ $# -eq 0 ]; then
  echo "release: no platform, such as linux/amd64" >&2
  exit 2
fi
dir=${RELEASE_DIR:-bin/release}
mkdir -p "$dir"
# Nothing of this machine goes into the bytes: no paths, no state of the checkout, no settings of its own.
export CGO_ENABLED=0 GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT='' GOFLAGS=-mod=readonly
names=()
for platform in "$@"; do
  name=gateway-$version-${platform/\//-}
  GOOS=${platform%/*} GOARCH=${platform#*/} go build -trimpath -buildvcs=false \
    -ldflags "-s -w -buildid= -X main.version=$version" -o "$dir/$name" ./cmd/gateway
  names+=("$name")
done
cd "$dir"
sha256sum "${names[@]}" >"gateway-$version-SHA256SUMS"
cat "gateway-$version-SHA256SUMS"
