#!/usr/bin/env bash
# Runs every fuzz test of the module, one after another; then a million requests that werkzeug must read as
# the gateway does (GATEWAY_WERKZEUG_SEED is their first seed), and ten thousand that explain must foresee
# (GATEWAY_SEED). A failure names its own seed.
# Usage: scripts/fuzz.sh DURATION
set -euo pipefail
cd "$(dirname "$0")/.."
duration=${1:?a duration such as 20s}

total=0
while IFS=' ' read -r package dir; do
  while read -r name; do
    total=$((total + 1))
    echo "fuzz: $name in $package for $duration"
    # The end of the time may count as a failure, without an input (go.dev/issue/75804, until Go 1.27).
    said=$(go test -run '^$' -fuzz "^$name\$" -fuzztime "$duration" "$package" 2>&1) ||
      { [[ "$said" == *"context deadline exceeded"* && "$said" != *"Failing input"* ]] || { echo "$said"; exit 1; }; }
    grep '^fuzz: elapsed' <<<"$said" | tail -n 1
  done < <(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$dir"/*_test.go 2>/dev/null)
done < <(go list -f '{{.ImportPath}} {{.Dir}}' ./...)

if [ "$total" -eq 0 ]; then
  echo "fuzz: there is no fuzz test" >&2
  exit 1
fi

export GATEWAY_WERKZEUG=1000000 GATEWAY_WERKZEUG_SEED=${GATEWAY_WERKZEUG_SEED:-$(date +%s)}
echo "fuzz: $GATEWAY_WERKZEUG requests against werkzeug, first seed $GATEWAY_WERKZEUG_SEED"
go test -count=1 -v -timeout 30m -run '^TestWerkzeugReadsWhatIsMatchedAndKeyed$' ./cmd/gateway
echo "fuzz: 10000 requests are explained, then made"
GATEWAY_EXPLAIN=10000 go test -race -count=1 -v -timeout 10m -run '^TestExplainEqualsWhatHappens$' ./cmd/gateway
echo "fuzz: $total tests, none failed"
