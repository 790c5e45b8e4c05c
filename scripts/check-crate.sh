#!/usr/bin/env bash
# Checks the crate as crates.io would publish it: packs it, builds the library and the programs from the package, and checks that the
# files to which README.md links are in it.
set -euo pipefail
cd "$(dirname "$0")/.."
listed=$(cargo package --list --locked --allow-dirty --quiet)
echo "$(wc -l <<<"$listed") files"
missing=$(grep -oE '\]\([^)# ]+' README.md | sed 's/](//' | grep -v :// | sort -u | grep -vxF -f <(echo "$listed") || true)
[ -z "$missing" ] || { printf 'README.md links to a file that the crate lacks: %s\n' $missing >&2; exit 1; }
# The registry is not asked to take it. With the directory named, cargo uses the dependencies that are built there.
CARGO_TARGET_DIR=$PWD/target cargo publish --dry-run --locked --allow-dirty --quiet
echo "cargo publish --dry-run succeeds"
