#!/usr/bin/env bash
# Runs a tree of thirteen servers that follows a Redis with sentinels, in its own network, and kills, stops and cuts off members at
# random. Checks that 1,800 clients get every map complete, in order and in time.
#
#   scripts/chaos.sh             # ten minutes of faults
#   scripts/chaos.sh 90          # a minute and a half
#   scripts/chaos.sh 90 4711     # the same faults as the run that printed this seed
#
# Exit codes: 0 all checks passed, 1 a check failed, 77 cannot run here.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1-600}
seed=${2-}
[[ $seconds =~ ^[1-9][0-9]*$ && $seed =~ ^[0-9]*$ ]] || { echo "usage: $0 [SECONDS [SEED]]" >&2; exit 2; }

skip() { echo "chaos: skipped: $1" >&2; exit 77; }
[ "$(id -u)" = 0 ] || skip "not root"
for command in ip mount nft nsenter redis-server setpriv unshare; do
    command -v "$command" >/dev/null || skip "no $command"
done
unshare --net --mount true 2>/dev/null || skip "no namespaces"

bench=$(cargo bench --bench chaos --no-run --locked --features tls-aws-lc --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\/chaos-[^"]*\)".*/\1/p')
# It ends by itself: two minutes for the start, and one more episode after the time.
timeout --foreground $((seconds + 480)) "$bench" --for "${seconds}s" ${seed:+--seed "$seed"}
