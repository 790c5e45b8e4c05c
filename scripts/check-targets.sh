#!/usr/bin/env bash
# Checks the library and both programs for other systems, with warnings denied. Needs Debian's apt-get, and no other toolchain: the
# standard library is built from Debian's source of it. Changes nothing outside target/. Exit codes: 0 all checks passed, 1 a check
# failed, 77 the source of this compiler's standard library is not to be had.
#
#   scripts/check-targets.sh                                  # all targets
#   scripts/check-targets.sh aarch64-apple-darwin             # one target
#   scripts/check-targets.sh --print-source                   # fetches the source only, and prints its directory
#
# MAPCAST_CHECK_FEATURES: the features to check, instead of `cli,redis`. TLS is not among them, because its C code needs a compiler for
# each target. MAPCAST_RUST_SRC: the directory `library` of the source, instead of Debian's package.
set -euo pipefail
cd "$(dirname "$0")/.."
features=${MAPCAST_CHECK_FEATURES-cli,redis}
cache=$PWD/target/other-systems

retry() {
    local pause
    for pause in 5 20; do
        "$@" && return
        echo "failed: $*; retrying in $pause s" >&2
        sleep "$pause"
    done
    "$@"
}

# Debian's package of the compiler's version, by way of private package lists.
fetch_source() {
    local version=$1 mirror found
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "no apt-get" >&2; return 1; }
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$') ||
        { echo "no Debian mirror in the package lists" >&2; return 1; }
    mkdir -p "$cache/lists/partial" "$cache/archives/partial"
    local suite
    for suite in trixie-backports sid testing; do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
    done >"$cache/sources.list"
    local private=(-o Dir::Etc::sourcelist="$cache/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists="$cache/lists" -o Dir::Cache="$cache" -o Dir::Cache::archives="$cache/archives"
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Debug::NoLocking=1 -o APT::Sandbox::User=root)
    # A suite that has gone is not an error if another one has the package.
    retry apt-get "${private[@]}" update -qq >&2 || true
    found=$(apt-cache "${private[@]}" madison rust-src | awk -v version="$version" '{ split($3, parts, "+"); if (parts[1] == version) print $3 }' |
        head -n1)
    [ -n "$found" ] || { echo "Debian has no rust-src of $version" >&2; return 1; }
    (cd "$cache" && retry apt-get "${private[@]}" download -qq "rust-src=$found" >&2)
    rm -rf "$cache/$version"
    dpkg-deb -x "$cache"/rust-src_*.deb "$cache/$version"
    rm -f "$cache"/rust-src_*.deb
}

version=$(rustc --version | awk '{ print $2 }')
library=${MAPCAST_RUST_SRC:-}
if [ -z "$library" ]; then
    find_library() { find "$cache/$version" -type d -path "*/rustc-$version/library" -print -quit 2>/dev/null; }
    library=$(find_library || true)
    if [ -z "$library" ]; then
        fetch_source "$version" || exit 77
        library=$(find_library)
    fi
fi
if [ "${1:-}" = --print-source ]; then
    echo "$library"
    exit
fi

export RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT=$library CARGO_TARGET_DIR=$cache/target
export RUSTFLAGS="-D warnings" CARGO_NET_RETRY=10
[ $# -gt 0 ] || set -- aarch64-apple-darwin x86_64-pc-windows-msvc aarch64-pc-windows-msvc x86_64-pc-windows-gnu \
    aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf
for target; do
    echo "checking $target"
    retry cargo fetch --locked --quiet
    cargo check -Zbuild-std=std,panic_unwind --target "$target" --locked --lib --bins --no-default-features --features "$features"
done
