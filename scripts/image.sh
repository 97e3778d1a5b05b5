#!/usr/bin/env bash
# Builds the container image and runs the end-to-end test against the gateway in
# it. With a Docker engine the image is gateway:latest afterwards. Without one,
# buildah (as root) builds it into bin/gateway-image.tar, which `docker load` and
# `podman load` read.
# Usage: scripts/image.sh
#   GO_IMAGE  the image for compiling (default: the Dockerfile's; if it cannot be
#             pulled, one is made from Debian packages and this machine's Go)
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n==> %s\n' "$*"; }
fail() {
  echo "image: $*" >&2
  exit 1
}

scratch=$(mktemp -d)
chmod 755 "$scratch" # so that the gateway, which is not root, can enter
trap 'rm -rf --one-file-system "$scratch"' EXIT
root=$scratch/root
mkdir "$root"

# build_docker puts the image into the engine and its files into $root.
build_docker() {
  docker build -t gateway ${GO_IMAGE:+--build-arg "GO_IMAGE=$GO_IMAGE"} .
  local container
  container=$(docker create gateway)
  docker export "$container" | tar -x -C "$root"
  docker rm "$container" >/dev/null
}

# A separate store: the storage driver applies to a whole store, and the user's
# store may use another.
buildah_() { buildah --storage-driver vfs --root "$scratch/store" --runroot "$scratch/run" "$@"; }

# local_base makes a substitute for GO_IMAGE and prints its name.
local_base() {
  scripts/debian-root.sh "$scratch/base" >&2
  local container
  container=$(buildah_ from scratch)
  buildah_ copy --quiet "$container" "$scratch/base" / >/dev/null
  buildah_ config --env PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah_ commit --quiet --rm "$container" localhost/go-base >/dev/null
  rm -rf --one-file-system "$scratch/base"
  echo localhost/go-base
}

# build_buildah puts the image into a file and its files into $root. Modules come
# from this machine's cache first; go.sum guarantees the same content.
build_buildah() {
  local image=${GO_IMAGE:-} modules container
  if [ -z "$image" ]; then
    image=$(sed -n 's/^ARG GO_IMAGE=//p' Dockerfile)
    if ! buildah_ pull --quiet "$image" >/dev/null 2>"$scratch/pull.log"; then
      echo "image: $image cannot be pulled: $(tail -n 1 "$scratch/pull.log" | cut -c 1-200)"
      image=$(local_base)
    fi
  fi
  modules=$(go env GOMODCACHE)/cache/download
  mkdir -p "$modules"
  buildah_ bud --isolation chroot --format docker --tag gateway \
    --volume "$modules:/mnt/modules:ro" \
    --build-arg "GO_IMAGE=$image" \
    --build-arg "GOPROXY=file:///mnt/modules,$(go env GOPROXY)" .
  mkdir -p bin
  rm -f bin/gateway-image.tar
  buildah_ push --quiet gateway "docker-archive:bin/gateway-image.tar:gateway:latest"
  container=$(buildah_ from gateway)
  cp -a "$(buildah_ mount "$container")/." "$root/"
  buildah_ rm "$container" >/dev/null
}

# inspect_root checks the image's content: the gateway, certificates, a user, a
# writable folder, and neither other executables nor a policy.
inspect_root() {
  local programs
  programs=$(find "$root" -xdev -type f -perm /111 -printf '/%P\n')
  [ "$programs" = /gateway ] || fail "programs in the image: $programs"
  for f in etc/ssl/certs/ca-certificates.crt etc/passwd etc/gateway/gateway.schema.json; do
    [ -s "$root/$f" ] || fail "the image lacks /$f"
  done
  [ "$(stat -c %u:%g "$root/data")" = 65532:65532 ] || fail "/data belongs to $(stat -c %u:%g "$root/data")"
  as_user /gateway version
  as_user /gateway run --config /etc/gateway/gateway.yaml 2>"$scratch/run.log" && fail "it serves without a policy"
  grep -q 'gateway init --to' "$scratch/run.log" || fail "without a policy it says: $(cat "$scratch/run.log")"
}

as_user() { chroot --userspec=65532:65532 "$root" "$@"; }

# end_to_end runs the test with the gateway inside the image's root, as the
# image's user. The test writes its policies to a folder that both sides see.
end_to_end() {
  mkdir -p "$root/data/e2e" "$root/etc"
  chown 65532:65532 "$root/data/e2e"
  [ -e "$root/etc/hosts" ] || echo '127.0.0.1 localhost' >"$root/etc/hosts" # as an engine does
  # Every start is logged, to prove that the test ran this gateway and no other.
  printf '#!/bin/sh\necho "$@" >>%s\nexec chroot --userspec=65532:65532 %s /gateway "$@"\n' \
    "$scratch/starts" "$root" >"$scratch/gateway"
  chmod 755 "$scratch/gateway"
  GATEWAY_E2E_COMMAND="$scratch/gateway" GATEWAY_E2E_DIR="$root/data/e2e" GATEWAY_E2E_DIR_INSIDE=/data/e2e \
    go test -count=1 -v -timeout 10m -run "$tests" ./cmd/gateway | tee "$scratch/test.log"
  grep -q '^--- PASS' "$scratch/test.log" || fail "no end-to-end test ran"
  [ -s "$scratch/starts" ] || fail "the test did not start the gateway inside the image"
  echo "image: the test started its gateway $(wc -l <"$scratch/starts") times"
}

tests='^TestEndToEnd'
[ "$(id -u)" -eq 0 ] || fail "to be run as root: the test enters the image's root with chroot"
scripts/deps.sh image
scripts/deps.sh test
say "build"
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
  build_docker
else
  build_buildah
fi
say "inspect"
inspect_root
say "end-to-end test inside the image's root"
end_to_end
say "image: passed"
