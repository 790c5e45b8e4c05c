#!/usr/bin/env bash
# Compares the public interface of the library, with all its features, with tests/public-api.txt. MAPCAST_BLESS=1 writes the file again,
# after a change that is meant; `git diff` then shows the change. The JSON of rustdoc is not stable: another version of Rust than the
# one that is named in the first line is not compared (exit code 77).
set -euo pipefail
cd "$(dirname "$0")/.."
file=tests/public-api.txt
version=$(rustc --version | cut -d ' ' -f 2)
written=$(sed -n '1s/^# Rust //p' "$file" 2>/dev/null || true)
if [ "$version" != "$written" ] && [ -z "${MAPCAST_BLESS-}" ]; then
    echo "$file was written by Rust $written and not $version; compare with that version, or write it again: MAPCAST_BLESS=1 $0" >&2
    exit 77
fi
RUSTC_BOOTSTRAP=1 RUSTDOCFLAGS="-Z unstable-options --output-format json" CARGO_TARGET_DIR=$PWD/target \
    cargo doc --quiet --lib --no-deps --locked --no-default-features --features redis,tls
lines=$(echo "# Rust $version" && python3 scripts/public-api.py <target/doc/mapcast.json)
if [ -n "${MAPCAST_BLESS-}" ]; then
    echo "$lines" >"$file"
elif ! diff --unified=0 "$file" - <<<"$lines"; then
    echo "the public interface has changed; if that is meant: MAPCAST_BLESS=1 $0" >&2
    exit 1
fi
echo "$(($(wc -l <<<"$lines") - 1)) public items"
