#!/usr/bin/env bash
# Compares mapcast with Redis, NATS and Mosquitto (on Debian: redis-server, nats-server, mosquitto) in about ten minutes. It
# prints a table at the usual load, then sweeps the number of clients and draws the plots in docs/plots. Servers that are not
# installed are skipped. The bench starts each server on a free port of 127.0.0.1. The servers are killed when the bench exits.
# The table has the memory of each server's process and the kernel's, and what the machine has less of, per client.
#
#   scripts/compare-peers.sh            # everything
#   scripts/compare-peers.sh --quick    # only checks that it works; takes a minute and leaves the plots unchanged
set -euo pipefail
cd "$(dirname "$0")/.."
# Debian installs servers in directories that are not in the PATH of users.
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

bench=$(cargo bench --bench fanout --no-run --locked --features tls-aws-lc --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\/fanout-[^"]*\)".*/\1/p')
# In the foreground, so that Ctrl-C reaches it. Takes 4 and 6 minutes.
fanout() { timeout --foreground 600 "$bench" --servers "$servers" "$@"; }

if [ -n "$quick" ]; then
    fanout --quick --scenario changes --scenario large
    exit
fi

# A server that fails is reported, and the figures of the others are kept.
status=0
echo "Usual load: 5 changes per second, medians of 3 rounds."
fanout --scenario changes --scenario large --rounds 3 || status=$?

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
# At 2 changes per second every server can keep up on two cores, so that the costs of a delivery are comparable.
echo "Sweep: 2 changes per second, 200 bytes, medians of 2 rounds."
fanout --scenario changes --clients 100,1000,3000,9000,15000 --rate 2 --rounds 2 --csv "$results/sweep.csv" || status=$?
python3 scripts/plot.py "$results/sweep.csv" docs/plots
exit "$status"
