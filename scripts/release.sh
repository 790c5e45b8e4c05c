#!/usr/bin/env bash
# Builds the files of a release into dist/: static programs for Linux, programs for Windows, Debian packages, the documentation of
# the command line, a list of the dependencies (CycloneDX), and SHA256SUMS. Exit codes: 0 dist/ is complete, 1 a step failed,
# 2 wrong arguments, 3 dist/ lacks the files that the last lines name.
#
#   scripts/release.sh                                   # everything
#   scripts/release.sh x86_64-unknown-linux-musl docs    # these alone, added to dist/
#
# Needs python3 with pip, which provides the cross compilers (cargo-zigbuild and ziglang, in target/release-tools). The standard library
# of a target comes from rustup; where rustup has none, it is built from the directory MAPCAST_RUST_SRC, or from the one that
# scripts/check-targets.sh --print-source prints.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s (at %d s)\n' "$1" "$SECONDS"; }

linux=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl)
windows=x86_64-pc-windows-gnu
# The oldest glibc for the Debian packages: that of Debian 11.
debian=(x86_64-unknown-linux-gnu.2.31 aarch64-unknown-linux-gnu.2.31)
for part; do
    case " ${linux[*]} $windows ${debian[*]} docs " in
    *" $part "*) ;;
    *) echo "usage: $0 [${linux[*]} $windows ${debian[*]} docs]" >&2; exit 2 ;;
    esac
done
[ $# -gt 0 ] || { rm -rf dist; set -- "${linux[@]}" "$windows" "${debian[@]}" docs; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
dist=$PWD/dist
mkdir -p "$dist"
missing=()
# The time of the last commit, in every archive: the same commit gives the same archives.
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date +%s)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/release-build}

tools=$PWD/target/release-tools
provide_zig() {
    [ -x "$tools/bin/cargo-zigbuild" ] ||
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$tools" cargo-zigbuild==0.24.1 ziglang==0.17.1
    export PATH=$tools/bin:$PATH PYTHONPATH=$tools
}

# Sets `std` to the arguments that build the standard library of target $1, empty if rustup has it. Returns 1 if it cannot be had.
provide_std() {
    std=()
    unset RUSTC_BOOTSTRAP __CARGO_TESTS_ONLY_SRC_ROOT
    [ ! -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ] || return 0
    if command -v rustup >/dev/null && rustup target add "$1" >/dev/null 2>&1; then return 0; fi
    local source=${MAPCAST_RUST_SRC:-}
    if [ -z "$source" ] && [ -x scripts/check-targets.sh ]; then source=$(scripts/check-targets.sh --print-source) || source=; fi
    [ -d "$source" ] || return 1
    export RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT=$source
    std=(-Zbuild-std=std,panic_unwind)
    # rustup has the start files and the libc of musl beside its standard library; zig has its own.
    case $1 in *-musl) std+=(--config "target.$1.rustflags=[\"-Clink-self-contained=no\"]") ;; esac
}

# Builds both programs for target $1, which may end with a version of glibc. Sets `built` to their directory.
build() {
    local target=${1%%.*}
    provide_zig
    provide_std "$target" || { missing+=("$1: no standard library (rustup target add $target, or MAPCAST_RUST_SRC)"); return 1; }
    cargo zigbuild --release --locked --bins --features tls-aws-lc --target "$1" "${std[@]}"
    built=$CARGO_TARGET_DIR/$target/release
}

# Copies what belongs to the programs of every system into directory $1.
documents() {
    mkdir -p "$1/man" "$1/completions"
    cp README.md CHANGELOG.md LICENSE SECURITY.md "$1/"
    cp -r docs "$1/"
    cp packaging/man/*.1 "$1/man/"
    cp packaging/completions/* "$1/completions/"
}

# Packs directory $2, which is in directory $1, into dist/ as $3.
pack() {
    find "$1" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
    rm -f "$dist/$3"
    case $3 in
    *.tar.gz) tar -C "$1" --sort=name --owner=0 --group=0 --numeric-owner -cf - "$2" | gzip -n9 >"$dist/$3" ;;
    *.zip) (cd "$1" && python3 -c 'import shutil, sys; shutil.make_archive(sys.argv[1], "zip", ".", sys.argv[2])' "$dist/${3%.zip}" "$2") ;;
    esac
    rm -rf "$1"
}

# The static program that runs the programs of target $1 here; empty if this machine can. Returns 1 if there is none.
emulator_for() {
    emulator=()
    case $1 in "$(uname -m)"-*) return 0 ;; esac
    emulator=("/usr/bin/qemu-${1%%-*}-static")
    [ -x "${emulator[0]}" ]
}

release_linux() {
    step "$1"
    build "$1" || return 0
    # A program with an interpreter needs a libc.
    ! readelf -l "$built/mapcast-server" | grep -q INTERP || { echo "$1: the programs are not static" >&2; exit 1; }
    if emulator_for "$1"; then
        local tried=0
        scripts/try-static.sh "$built/mapcast-server" "${emulator[@]}" || tried=$?
        [ "$tried" != 77 ] || { missing+=("$1: built, not run (no root, or no other root)"); tried=0; }
        [ "$tried" = 0 ] || exit 1
    else
        missing+=("$1: built, not run (no ${emulator[0]}: Debian's qemu-user-static)")
    fi
    local stage=mapcast-$version-$1 work
    work=$(mktemp -d)
    documents "$work/$stage"
    cp -r packaging/systemd "$work/$stage/"
    cp "$built/mapcast-server" "$built/mapcast-client" "$work/$stage/"
    pack "$work" "$stage" "$stage.tar.gz"
}

release_windows() {
    step "$windows"
    provide_zig
    if ! provide_std "$windows"; then
        missing+=("$windows: no standard library (rustup target add $windows, or MAPCAST_RUST_SRC)")
        return 0
    fi
    if ! cargo zigbuild --release --locked --bins --target "$windows" "${std[@]}"; then
        missing+=("$windows: the programs do not compile for it")
        return 0
    fi
    local stage=mapcast-$version-$windows work
    work=$(mktemp -d)
    documents "$work/$stage"
    rm -r "$work/$stage/man"
    cp "$CARGO_TARGET_DIR/$windows/release/"mapcast-{server,client}.exe "$work/$stage/"
    pack "$work" "$stage" "$stage.zip"
}

release_debian() {
    step "Debian package for $1"
    build "$1" || return 0
    scripts/package.sh --built "$built" "$dist"
}

# cargo-cyclonedx writes one file for each program; they list the same packages.
release_docs() {
    step "manual pages, completions, the list of dependencies"
    local stage=mapcast-$version-docs work
    work=$(mktemp -d)
    documents "$work/$stage"
    pack "$work" "$stage" "$stage.tar.gz"
    cargo metadata --format-version 1 --locked --no-default-features --features cli,redis,tls-aws-lc |
        python3 scripts/sbom.py >"$dist/mapcast-$version.cdx.json"
}

for part; do
    case $part in
    docs) release_docs ;;
    "$windows") release_windows ;;
    *-musl) release_linux "$part" ;;
    *) release_debian "$part" ;;
    esac
done

step "checksums"
(cd "$dist" && rm -f SHA256SUMS && sha256sum -- * >SHA256SUMS && sha256sum --check --quiet SHA256SUMS)
ls -l "$dist"
[ ${#missing[@]} = 0 ] || { printf 'missing: %s\n' "${missing[@]}"; exit 3; }
