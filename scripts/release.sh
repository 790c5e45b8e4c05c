#!/usr/bin/env bash
# Builds the files of a release into dist/: static programs for Linux, programs for Windows, Debian packages, the documentation, a list
# of the dependencies (CycloneDX), and SHA256SUMS. Tries the programs where this machine can run them. The last lines name each file
# that is missing, and each that was not tried, with the reason. Exit codes: 0 everything was built and tried, 1 a step failed, 2
# wrong arguments, 3 something cannot be built or tried here.
#
#   scripts/release.sh                                   # everything
#   scripts/release.sh x86_64-unknown-linux-musl docs    # these alone, beside what dist/ has of this version
#
# Needs Linux, python3 3.11 with pip, which provides the cross compilers for Linux (cargo-zigbuild and ziglang), and binutils. Needs
# Debian's gcc-mingw-w64-x86-64-win32 for Windows; root, qemu-user-static, wine64 and lintian to try everything. The standard library of
# a target comes from rustup; where rustup has none, it is built from the directory MAPCAST_RUST_SRC, or from the one that
# scripts/check-targets.sh --print-source prints. A second run needs no network.
#
# The same commit, Rust and tools give the same bytes: the time in the archives is SOURCE_DATE_EPOCH, by default that of the last commit.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
export LC_ALL=C TZ=UTC
step() { printf '\n== %s (at %d s)\n' "$1" "$SECONDS"; }
die() { echo "$1" >&2; exit "${2:-1}"; }

linux=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl)
windows=x86_64-pc-windows-gnu
# The oldest glibc for the Debian packages: that of Debian 11. Cargo.toml has it as the dependency of the packages.
glibc=2.31
debian=("x86_64-unknown-linux-gnu.$glibc" "aarch64-unknown-linux-gnu.$glibc")
all=("${linux[@]}" "$windows" "${debian[@]}" docs)
for part; do
    case " ${all[*]} " in
    *" $part "*) ;;
    *) die "usage: $0 [${all[*]}]" 2 ;;
    esac
done

for tool in cargo rustc python3 readelf sha256sum flock; do
    command -v "$tool" >/dev/null || die "cannot build a release: $tool is missing; install it"
done
python3 -c 'import tomllib' 2>/dev/null || die "cannot build a release: python3 is older than 3.11; install a newer one"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# A Debian version sorts the pre-release 1.0.0~rc.1 before 1.0.0.
debian_version=${version/-/\~}-1
grep -qF "(${debian_version})" <(head -n 1 packaging/debian/changelog) ||
    die "cannot build a release: packaging/debian/changelog does not begin with $debian_version; add that entry"
grep -qF "mapcast $version" packaging/man/mapcast-server.1 ||
    die "cannot build a release: the manual pages are not those of $version; run MAPCAST_BLESS=1 cargo test --bins packaged"

# Prints the files that part $1 makes.
files_of() {
    case $1 in
    *-musl) echo "mapcast-$version-$1.tar.gz" ;;
    "$windows") echo "mapcast-$version-$1.zip" ;;
    x86_64-*) echo "mapcast_${debian_version}_amd64.deb" ;;
    aarch64-*) echo "mapcast_${debian_version}_arm64.deb" ;;
    docs) printf '%s\n' "mapcast-$version-docs.tar.gz" "mapcast-$version.cdx.json" ;;
    esac
}

# The lock ends with this process and those that it started.
mkdir -p target
exec 9>target/release.lock
flock --nonblock 9 || die "cannot build a release: another $0 is running here; wait for it"
# Everything is made in `work` and moved into dist/ when it is whole and tried, so a run that stops half way leaves no part of a file.
work=$PWD/target/release-work
trap 'rm -rf "$work"' EXIT
rm -rf "$work"
mkdir -p "$work" dist
[ $# -gt 0 ] || set -- "${all[@]}"
# dist/ keeps nothing of another version, and nothing that this run makes again.
kept=$(for part in "${all[@]}"; do case " $* " in *" $part "*) ;; *) files_of "$part" ;; esac; done)
for file in dist/* dist/.[!.]*; do
    [ ! -e "$file" ] || grep -qxF "${file#dist/}" <<<"$kept" || rm -rf "$file"
done

commit_time() { git log -1 --format=%ct 2>/dev/null || date --date "$(sed -n 's/^ -- .*>  //p' packaging/debian/changelog | head -n 1)" +%s; }
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(commit_time)}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/release-build} CARGO_NET_RETRY=10
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET

# Ends a part: it cannot be built here.
missing() {
    echo "$1" >&2
    files_of "$part" | sed "s|^|missing: |; s|\$|: $1|" >>"$work/notes"
    exit 77
}
untried() { printf 'not tried: %s: %s\n' "$(files_of "$part")" "$1" | tee -a "$work/notes"; }

# The cross compilers, in a directory that is complete if it exists.
zigbuild=0.24.0
zig=0.17.0
provide_zig() {
    local tools=$PWD/target/release-tools/$zigbuild-$zig
    if [ ! -d "$tools" ]; then
        mkdir -p "$work/tools" "${tools%/*}"
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$work/tools" \
            "cargo-zigbuild==$zigbuild" "ziglang==$zig" || missing "pip cannot install cargo-zigbuild $zigbuild and ziglang $zig"
        mv "$work/tools" "$tools"
    fi
    export PATH=$tools/bin:$PATH PYTHONPATH=$tools
}

# Sets `std` to the arguments that build the standard library of target $1, empty if rustup has it, and `flags` to those of rustc.
provide_std() {
    std=()
    # The programs do not depend on the directories of this machine.
    flags=("--remap-path-prefix=$PWD=/mapcast" "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo")
    [ ! -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ] || return 0
    if command -v rustup >/dev/null && rustup target add "$1" >/dev/null 2>&1; then return 0; fi
    local source=${MAPCAST_RUST_SRC:-}
    [ -n "$source" ] || source=$(scripts/check-targets.sh --print-source) || source=
    [ -d "$source" ] || missing "no standard library (rustup target add $1, or MAPCAST_RUST_SRC)"
    export RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT=$source
    std=(-Zbuild-std=std,panic_unwind)
    flags=("--remap-path-prefix=$source=/rust/library" "${flags[@]}")
    # rustup has the start files and the libc of musl beside its standard library; zig has its own.
    case $1 in *-musl) flags+=(-Clink-self-contained=no) ;; esac
}

# Builds both programs for target $2, which may end with a version of glibc, with the cargo command $1. Sets `built` to their directory.
build() {
    local target=${2%%.*}
    provide_std "$target"
    local IFS=$'\x1f'
    export CARGO_ENCODED_RUSTFLAGS=${flags[*]}
    unset IFS
    # The linker for Windows writes the time into the programs, and cargo does not link again when only the time differs.
    SOURCE_DATE_EPOCH=0 cargo "$1" --release --locked --bins --features tls-aws-lc --target "$2" "${std[@]}"
    built=$CARGO_TARGET_DIR/$target/release
    local named
    named=$(grep -lF -e "$PWD" -e "${CARGO_HOME:-$HOME/.cargo}/" "$built"/mapcast-{server,client}{,.exe} 2>/dev/null || true)
    [ -z "$named" ] || die "the programs contain the names of this machine's directories: $named"
}

# Copies what belongs to the programs of every system into directory $1.
documents() {
    mkdir -p "$1/man" "$1/completions"
    cp README.md CHANGELOG.md CONTRIBUTING.md LICENSE SECURITY.md packaging/INSTALL.txt "$1/"
    cp -r docs examples "$1/"
    cp packaging/man/*.1 "$1/man/"
    cp packaging/completions/* "$1/completions/"
}

# Packs directory $1 as the archive $2, with what `cargo binstall` expects of target $3, and unpacks it into $work/unpacked.
pack() {
    mkdir -p "$work/out" "$work/unpacked"
    python3 scripts/archives.py pack "$1" "$work/out/$2"
    python3 scripts/archives.py check "$work/out/$2" ${3+"$3"}
    python3 -c 'import shutil, sys; shutil.unpack_archive(*sys.argv[1:])' "$work/out/$2" "$work/unpacked"
}

# The static program that runs the programs of target $1 here; empty if this machine can. Returns 1 if there is none.
emulator_for() {
    emulator=()
    case $1 in "$(uname -m)"-*) return 0 ;; esac
    emulator=("/usr/bin/qemu-${1%%-*}-static")
    [ -x "${emulator[0]}" ]
}

release_linux() {
    provide_zig
    build zigbuild "$1"
    # A program with an interpreter needs a libc.
    ! readelf -l "$built/mapcast-server" "$built/mapcast-client" | grep -q INTERP || die "$1: the programs are not static"
    local stage=mapcast-$version-$1
    documents "$work/$stage"
    cp -r packaging/systemd "$work/$stage/"
    cp packaging/debian/default "$work/$stage/systemd/mapcast.default"
    cp packaging/debian/50-mapcast.conf "$work/$stage/systemd/"
    cp "$built/mapcast-server" "$built/mapcast-client" "$work/$stage/"
    pack "$work/$stage" "$stage.tar.gz" "$1"
    if ! emulator_for "$1"; then
        untried "no ${emulator[0]} (Debian's qemu-user-static)"
        return
    fi
    local tried=0
    scripts/try-static.sh "$work/unpacked/$stage/mapcast-server" "${emulator[@]}" || tried=$?
    [ "$tried" != 77 ] || { untried "no root, or no other root directory"; tried=0; }
    return "$tried"
}

release_windows() {
    command -v x86_64-w64-mingw32-gcc >/dev/null || missing "no x86_64-w64-mingw32-gcc (Debian's gcc-mingw-w64-x86-64-win32)"
    # The objects of the crate, in place of an assembler.
    export AWS_LC_SYS_PREBUILT_NASM=1
    build build "$windows"
    local others
    others=$(x86_64-w64-mingw32-objdump -p "$built"/mapcast-{server,client}.exe | sed -n 's/.*DLL Name: //p' | sort -u | grep '^lib' || true)
    [ -z "$others" ] || die "$windows: the programs need libraries of the compiler: $others"
    local stage=mapcast-$version-$windows
    documents "$work/$stage"
    cp "$built/"mapcast-{server,client}.exe "$work/$stage/"
    pack "$work/$stage" "$stage.zip" "$windows"
    local tried=0
    scripts/try-windows.sh "$work/unpacked/$stage" || tried=$?
    [ "$tried" != 77 ] || { untried "Wine does not start (Debian's wine64 and gcc-mingw-w64-x86-64-win32)"; tried=0; }
    return "$tried"
}

release_debian() {
    provide_zig
    build zigbuild "$1"
    local program needed newest
    for program in mapcast-server mapcast-client; do
        needed=$(readelf --dynamic "$built/$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
            grep -vxE 'lib(c|m|dl|pthread|rt)\.so\.[0-9]|ld-linux.*' || true)
        [ -z "$needed" ] || die "$1: $program needs libraries beside libc6: $needed"
        newest=$(readelf --version-info "$built/$program" | grep -o 'GLIBC_[0-9.]*' | sort --unique --version-sort | tail -n 1)
        sort --check=quiet --version-sort <<<"$newest"$'\n'"GLIBC_$glibc" || die "$1: $program needs $newest"
    done
    mkdir -p "$work/out"
    local tried=0
    scripts/package.sh --cross "${1%%.*}" "$work/out" || tried=$?
    [ "$tried" != 77 ] || missing "no cargo-deb (cargo install cargo-deb)"
    [ "$tried" = 0 ] || return "$tried"
    command -v lintian >/dev/null || untried "no lintian"
}

release_docs() {
    local stage=mapcast-$version-docs
    documents "$work/$stage"
    pack "$work/$stage" "$stage.tar.gz"
    cargo metadata --format-version 1 --locked --no-default-features --features cli,redis,tls-aws-lc |
        python3 scripts/sbom.py >"$work/out/mapcast-$version.cdx.json"
}

failed=
for part; do
    step "$part"
    # A subshell with its own `set -e`: a failure ends this part, and the others are built.
    set +e
    (
        set -e
        case $part in
        docs) release_docs ;;
        "$windows") release_windows "$part" ;;
        *-musl) release_linux "$part" ;;
        *) release_debian "$part" ;;
        esac
    )
    code=$?
    set -e
    if [ "$code" = 0 ]; then
        files_of "$part" | while read -r file; do mv "$work/out/$file" dist/; done
    elif [ "$code" != 77 ]; then
        files_of "$part" | sed 's|^|missing: |; s|$|: its step failed, see above|' >>"$work/notes"
        failed=1
    fi
done

step "checksums"
if [ -n "$(ls dist)" ]; then
    (cd dist && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" . && sha256sum --check --quiet SHA256SUMS)
fi
ls -l dist
[ -z "$(git status --porcelain 2>/dev/null)" ] || echo "note: the directory has changes that are in no commit"
grep -qF "## $version" CHANGELOG.md || echo "note: CHANGELOG.md has no heading $version"
for part in "${all[@]}"; do
    case " $* " in *" $part "*) continue ;; esac
    files_of "$part" | while read -r file; do [ -e "dist/$file" ] || echo "note: dist/ lacks $file, which is not in the arguments"; done
done
if [ -e "$work/notes" ]; then
    cat "$work/notes"
    [ -z "$failed" ] || exit 1
    exit 3
fi
echo "every file was built and tried"
