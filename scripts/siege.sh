#!/usr/bin/env bash
# Attacks servers: connection churn, mass reconnection, stalled peers, costly filters, a log that is not read, files that
# hang, limits of the system. Is every promise to well-behaved clients kept meanwhile, and is everything as before at the end?
#
#   scripts/siege.sh          # ten minutes of attacks
#   scripts/siege.sh 60       # one
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1-600}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "usage: $0 [SECONDS]" >&2; exit 2; }

bench=$(cargo bench --bench siege --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\/siege-[^"]*\)".*/\1/p')
# It ends by itself: where every server fails in every phase, after six more minutes a round.
timeout --foreground $((seconds * 7 + 480)) "$bench" --for "${seconds}s"
