#!/usr/bin/env bash
# Runs two thousand steady clients, fifty short-lived clients per second, ten maps per second, and a new certificate each minute.
# Checks that memory, descriptors, threads and maps do not grow, and that no client was without the map for longer than N.
#
#   scripts/soak.sh          # ten minutes
#   scripts/soak.sh 60       # one minute
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1-600}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "usage: $0 [SECONDS]" >&2; exit 2; }

bench=$(cargo bench --bench soak --no-run --locked --features tls-aws-lc --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\/soak-[^"]*\)".*/\1/p')
# The warm-up takes a quarter of the time, at most a minute. Stalled clients are disconnected 15 s after each part.
timeout --foreground $((seconds + seconds / 4 + 180)) "$bench" --for "${seconds}s"
