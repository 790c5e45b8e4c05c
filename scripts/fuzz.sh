#!/usr/bin/env bash
# Runs every fuzz target of fuzz/ with random bytes, the given number of times.
#
#     scripts/fuzz.sh [RUNS [TARGET...]]       10,000,000 runs of every target; takes hours
#
# Needs a C++ compiler, and installs cargo-fuzz. New inputs are kept in fuzz/corpus/, which the next run starts from. Failing
# inputs are kept in fuzz/artifacts/. SANITIZER=address checks the unsafe code of dependencies at a third of the speed; mapcast
# itself has no unsafe code. MAX_LEN (bytes, default 512) is the longest input.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-10000000}
targets=("${@:2}")
if [ ${#targets[@]} = 0 ]; then
    mapfile -t targets < <(basename -s .rs -a fuzz/targets/*.rs)
fi
# The instrumentation needs flags of the nightly compiler; this makes the stable compiler accept them.
export RUSTC_BOOTSTRAP=1
sanitizer=${SANITIZER:-none}

# Prints one progress line of libFuzzer every ten seconds, and all other lines, on standard error as libFuzzer does.
progress() {
    local target=$1 next=0 line
    while IFS= read -r line; do
        case $line in
            '#'*) [ "$SECONDS" -ge "$next" ] || continue; next=$((SECONDS + 10)) ;;
            INFO:* | WARNING:* | *'# Uses:'* | '###### '*) continue ;;
        esac
        printf '%s: %s\n' "$target" "$line" >&2
    done
}

if ! cargo fuzz --version >/dev/null 2>&1; then
    cargo install cargo-fuzz --version 0.13.2 --locked --quiet
fi
cargo fuzz build --sanitizer "$sanitizer"
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target"
    # 256 MiB: the memory budget of the largest payload is 48 MiB, and a sanitizer needs more. The timeout of one input is in
    # wall-clock time, and long because the machine may be busy.
    cargo fuzz run --sanitizer "$sanitizer" "$target" "fuzz/corpus/$target" "tests/hostile/corpus/$target" -- \
        -runs="$runs" -max_len="${MAX_LEN:-512}" -rss_limit_mb="$([ "$sanitizer" = none ] && echo 256 || echo 1024)" \
        -timeout=60 -print_funcs=0 2>&1 | progress "$target"
done
