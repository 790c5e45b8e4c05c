#!/usr/bin/env bash
# Measures mapcast beside Redis, NATS and Mosquitto where they are installed (on Debian: redis-server, nats-server,
# mosquitto), in about eight minutes: one table at the usual load, then a sweep over the number of clients, and from that
# the plots in docs/plots. What is not installed is skipped. The bench starts each server on a free port of 127.0.0.1, and
# each dies with the bench, however that ends.
#
#   scripts/compare-peers.sh            # all of it
#   scripts/compare-peers.sh --quick    # does it work? A minute; the plots are left as they are
set -euo pipefail
cd "$(dirname "$0")/.."
# Debian has servers where the PATH of a user does not look.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

quick=
case ${1-} in
"") ;;
--quick) quick=1 ;;
*) echo "usage: $0 [--quick]" >&2; exit 2 ;;
esac

servers=floor,mapcast
for pair in redis:redis-server nats:nats-server mosquitto:mosquitto; do
    program=${pair#*:}
    if command -v "$program" >/dev/null; then
        servers+=,${pair%%:*}
    else
        echo "skipped: $program is not installed" >&2
    fi
done

bench=$(cargo bench --bench fanout --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\/fanout-[^"]*\)".*/\1/p')
# In the foreground, so that Ctrl-C reaches it; its servers die with it. It takes 3 and 5 minutes.
fanout() { timeout --foreground 420 "$bench" --servers "$servers" "$@"; }

if [ -n "$quick" ]; then
    fanout --quick --scenario changes --scenario large
    exit
fi

# One server that does not hold the load is reported, and does not take the others' figures with it.
status=0
echo "The usual load: 5 changes a second, medians of 3 rounds."
fanout --scenario changes --scenario large --rounds 3 || status=$?

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
# At 2 changes a second no server is out of breath on two cores, so that what a delivery costs can be compared.
echo "The sweep: 2 changes a second, 200 bytes, medians of 2 rounds."
fanout --scenario changes --clients 100,1000,3000,9000,15000 --rate 2 --rounds 2 --csv "$results/sweep.csv" || status=$?
python3 scripts/plot.py "$results/sweep.csv" docs/plots
exit "$status"
