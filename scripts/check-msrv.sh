#!/usr/bin/env bash
# Checks `rust-version` of Cargo.toml: that no dependency of the library and the programs needs a newer Rust, and, where rustup has that
# toolchain, that it compiles them. Exit codes: 0 all checks passed, 1 a check failed, 77 the toolchain is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

cargo metadata --format-version 1 --locked --all-features | python3 -c '
import json, sys
metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
number = lambda text: [int(part) for part in text.split(".")[:2]]
reached, waiting = set(), [metadata["resolve"]["root"]]
while waiting:
    one = waiting.pop()
    if one not in reached:
        reached.add(one)
        waiting += [dep["pkg"] for dep in nodes[one]["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
newest = sorted((number(packages[one]["rust_version"] or "1.0"), packages[one]["name"]) for one in reached)
# Most lists of dependencies name crates that no feature selects; those in Cargo.lock count all the same.
newer = [f"{name} needs Rust {major}.{minor}" for (major, minor), name in newest if [major, minor] > number(sys.argv[1])]
print(f"{len(reached)} crates, none may need more than Rust {sys.argv[1]}", *newer, sep="\n")
sys.exit(bool(newer))' "$version"

if ! rustup toolchain list 2>/dev/null | grep -qE "^$version(\.0)?-"; then
    echo "rustup has no toolchain $version" >&2
    exit 77
fi
CARGO_TARGET_DIR=target/msrv cargo "+$version" check --locked --lib --bins
