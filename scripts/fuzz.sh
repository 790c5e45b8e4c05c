#!/usr/bin/env bash
# Throws hostile bytes at everything that reads a peer's: each target of fuzz/ as many times as told.
#
#     scripts/fuzz.sh [RUNS [TARGET...]]       10,000,000 runs of every target; takes hours
#
# Needs a C++ compiler, and installs cargo-fuzz. What is new is kept in fuzz/corpus/, where the next run begins; what fails
# is kept in fuzz/artifacts/. SANITIZER=address looks for what the unsafe code of a dependency does, at a third
# of the speed; mapcast itself has none. MAX_LEN (bytes, 512) is the longest input.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-10000000}
targets=("${@:2}")
if [ ${#targets[@]} = 0 ]; then
    mapfile -t targets < <(basename -s .rs -a fuzz/targets/*.rs)
fi
# The flags of the instrumentation are those of a nightly compiler; the stable one takes them when told so.
export RUSTC_BOOTSTRAP=1
sanitizer=${SANITIZER:-none}

# One line of libFuzzer's in ten seconds, and whatever is not its progress.
progress() {
    local target=$1 next=0 line
    while IFS= read -r line; do
        case $line in
            '#'*) [ "$SECONDS" -ge "$next" ] || continue; next=$((SECONDS + 10)) ;;
            INFO:* | WARNING:* | *'# Uses:'* | '###### '*) continue ;;
        esac
        printf '%s: %s\n' "$target" "$line"
    done
}

if ! cargo fuzz --version >/dev/null 2>&1; then
    cargo install cargo-fuzz --version 0.13.2 --locked --quiet
fi
cargo fuzz build --sanitizer "$sanitizer"
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target"
    # 256 MiB: the budget of the largest payload is 48, the sanitizer's own needs come on top. The time-out is of the wall
    # clock, for one input: generous, because the machine may be busy.
    cargo fuzz run --sanitizer "$sanitizer" "$target" "fuzz/corpus/$target" "tests/hostile/corpus/$target" -- \
        -runs="$runs" -max_len="${MAX_LEN:-512}" -rss_limit_mb="$([ "$sanitizer" = none ] && echo 256 || echo 1024)" \
        -timeout=60 -print_funcs=0 2>&1 | progress "$target"
done
