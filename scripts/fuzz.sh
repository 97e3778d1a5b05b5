#!/usr/bin/env bash
# Runs every fuzz test of the module, one after another.
# Usage: scripts/fuzz.sh DURATION
set -euo pipefail
cd "$(dirname "$0")/.."
duration=${1:?a duration such as 20s}

total=0
while IFS=' ' read -r package dir; do
  while read -r name; do
    total=$((total + 1))
    echo "fuzz: $name in $package for $duration"
    go test -run '^$' -fuzz "^$name\$" -fuzztime "$duration" "$package"
  done < <(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$dir"/*_test.go 2>/dev/null)
done < <(go list -f '{{.ImportPath}} {{.Dir}}' ./...)

if [ "$total" -eq 0 ]; then
  echo "fuzz: there is no fuzz test" >&2
  exit 1
fi
echo "fuzz: $total tests, none failed"
