#!/usr/bin/env bash
# Two thousand clients that stay, fifty that come and go each second, ten maps a second, a new certificate each minute:
# are memory, descriptors, threads and maps flat, and was nobody without the map for longer than N?
#
#   scripts/soak.sh          # ten minutes
#   scripts/soak.sh 60       # one
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1-600}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "usage: $0 [SECONDS]" >&2; exit 2; }

bench=$(cargo bench --bench soak --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\/soak-[^"]*\)".*/\1/p')
# The warm-up takes a quarter of the time, at most a minute; whoever stalls is gone 15 s after each part.
timeout --foreground $((seconds + seconds / 4 + 180)) "$bench" --for "${seconds}s"
