#!/usr/bin/env bash
# Thirteen servers in a tree behind a Redis with sentinels, in a network of their own; members are killed, stopped and cut off
# at random. Is every map that reaches 1,800 clients whole, in order, and there as soon as it can be?
#
#   scripts/chaos.sh             # ten minutes of faults
#   scripts/chaos.sh 90          # a minute and a half
#   scripts/chaos.sh 90 4711     # the faults of the run that printed this seed
#
# Exit codes: 0 as promised, 1 not, 77 cannot be tried here.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1-600}
seed=${2-}
[[ $seconds =~ ^[1-9][0-9]*$ && $seed =~ ^[0-9]*$ ]] || { echo "usage: $0 [SECONDS [SEED]]" >&2; exit 2; }

skip() { echo "chaos: skipped: $1"; exit 77; }
[ "$(id -u)" = 0 ] || skip "not root"
for command in ip mount nft nsenter redis-server setpriv unshare; do
    command -v "$command" >/dev/null || skip "no $command"
done
unshare --net --mount true 2>/dev/null || skip "no namespaces"

bench=$(cargo bench --bench chaos --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\/chaos-[^"]*\)".*/\1/p')
# It ends by itself: two minutes to start, and after the time is over one more episode.
timeout --foreground $((seconds + 480)) "$bench" --for "${seconds}s" ${seed:+--seed "$seed"}
