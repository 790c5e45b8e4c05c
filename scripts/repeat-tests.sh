#!/usr/bin/env bash
# Runs `cargo test` several times while one process per core keeps the machine busy, to find tests that depend on an idle machine.
# Prints one line per run on standard output, and progress on standard error. Keeps the output of a failed run in
# target/repeat-tests/. Exit codes: 0 all runs passed, 1 a run failed, 2 wrong arguments.
#
#   scripts/repeat-tests.sh [TIMES [ARGUMENTS]]     ten times by default; ARGUMENTS are passed to cargo test
#   scripts/repeat-tests.sh 3 --lib client::        the unit tests of one module, three times
set -euo pipefail
cd "$(dirname "$0")/.."

times=${1-10}
[[ $times =~ ^[1-9][0-9]*$ ]] || { echo "usage: $0 [TIMES [ARGUMENTS OF CARGO TEST]]" >&2; exit 2; }
arguments=("${@:2}")
# Seconds after which a run is considered hung and ended.
limit=1800
logs=target/repeat-tests
mkdir -p "$logs"

children=()
clean_up() {
    for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
    for child in "${children[@]}"; do wait "$child" 2>/dev/null || true; done
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Computes until it is killed or this script has exited.
keep_busy() {
    while kill -0 "$1" 2>/dev/null; do
        for ((i = 0; i < 100000; i++)); do :; done
    done
}

# Prints the sum of the numbers before $2 ("passed", "failed" or "ignored") in the results of log $1.
count() { sed -n "s/^test result: .* \([0-9]*\) $2;.*/\1/p" "$1" | awk '{ sum += $1 } END { print sum + 0 }'; }

echo "building" >&2
cargo test --no-run "${arguments[@]}"
cores=$(nproc)
for ((core = 0; core < cores; core++)); do
    keep_busy $$ &
    children+=($!)
done

code=0
for ((run = 1; run <= times; run++)); do
    log=$logs/run-$run.log
    began=$SECONDS
    echo "run $run of $times" >&2
    # In the background, so that the trap does not wait for its end.
    timeout "$limit" cargo test --no-fail-fast "${arguments[@]}" >"$log" 2>&1 &
    running=$!
    children+=("$running")
    ended=0
    wait "$running" || ended=$?
    unset 'children[-1]'
    line="run $run: $((SECONDS - began)) s with $cores busy processes, $(count "$log" passed) passed"
    line+=", $(count "$log" failed) failed, $(count "$log" ignored) ignored, $(grep -c '^skipped: ' "$log" || true) skipped"
    if [ "$ended" = 0 ]; then
        echo "$line"
        rm "$log"
        continue
    fi
    code=1
    [ "$ended" != 124 ] || line+=", ended after $limit s"
    echo "$line: FAILED, see $log"
    # Print failures without the lines of passed tests.
    grep -vE '^test .* \.\.\. ok$' "$log" | tail -n 200 >&2
done
exit $code
