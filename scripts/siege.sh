#!/usr/bin/env bash
# Attacks servers: connection churn, mass reconnection, stalled peers, costly filters, an unread log, files that hang, system limits.
# Checks that all guarantees to well-behaved clients hold meanwhile, and that the servers return to their usage before.
#
#   scripts/siege.sh          # ten minutes of attacks
#   scripts/siege.sh 60       # one minute
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1-600}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "usage: $0 [SECONDS]" >&2; exit 2; }

bench=$(cargo bench --bench siege --no-run --locked --features tls-aws-lc --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\/siege-[^"]*\)".*/\1/p')
# It ends by itself: if every server fails in every phase, after six more minutes per round.
timeout --foreground $((seconds * 7 + 480)) "$bench" --for "${seconds}s"
