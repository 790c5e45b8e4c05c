#!/usr/bin/env bash
# Runs `cargo test` several times in a row while one process for each core computes without end: which tests depend on a
# machine that is idle? Prints one line for each run on standard output, and what is running on standard error. The output of
# a run that fails is kept in target/repeat-tests/. Exit codes: 0 if every run passed, 1 if one failed, 2 for wrong arguments.
#
#   scripts/repeat-tests.sh [TIMES [ARGUMENTS]]     ten times; the arguments are those of cargo test
#   scripts/repeat-tests.sh 3 --lib client::        three times the unit tests of one module
set -euo pipefail
cd "$(dirname "$0")/.."

times=${1-10}
[[ $times =~ ^[1-9][0-9]*$ ]] || { echo "usage: $0 [TIMES [ARGUMENTS OF CARGO TEST]]" >&2; exit 2; }
arguments=("${@:2}")
# Seconds after which a run counts as hanging, and is ended.
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

# It computes until it is ended, or this script is gone, however that happened.
keep_busy() {
    while kill -0 "$1" 2>/dev/null; do
        for ((i = 0; i < 100000; i++)); do :; done
    done
}

# The sum of the numbers before "passed", "failed" or "ignored" in the results of the log $1.
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
    # Not in the foreground, so that the trap need not wait for its end.
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
    # What failed and why, without the thousand lines of what passed.
    grep -vE '^test .* \.\.\. ok$' "$log" | tail -n 200 >&2
done
exit $code
