#!/usr/bin/env bash
# Builds both programs for Windows, with the default features, and tries them under Wine. Needs Debian's
# gcc-mingw-w64-x86-64-win32, which compiles ring for TLS, and wine64, python3, and the source of the standard library
# (scripts/check-targets.sh). Takes two minutes after the build, and ends by itself. Changes nothing outside target/. Skips TLS
# without openssl, and Redis without redis-server. Exit codes: 0 all checks passed, 1 a check failed, 77 something is missing.
#
#   scripts/try-windows.sh
#   scripts/try-windows.sh DIRECTORY   # does not build, and tries mapcast-server.exe and mapcast-client.exe of that directory
set -euo pipefail
[ $# -lt 2 ] || { echo "usage: $0 [DIRECTORY]" >&2; exit 2; }
programs=$(realpath "${1:-.}")
cd "$(dirname "$0")/.."
wine=$(command -v wine64 || ls /usr/lib/wine/wine64 2>/dev/null) || { echo "no wine64" >&2; exit 77; }
command -v x86_64-w64-mingw32-gcc >/dev/null || { echo "no x86_64-w64-mingw32-gcc" >&2; exit 77; }
command -v python3 >/dev/null || { echo "no python3" >&2; exit 77; }

if [ $# = 0 ]; then
    library=$(scripts/check-targets.sh --print-source) || exit 77
    target=x86_64-pc-windows-gnu
    RUSTFLAGS="-D warnings" RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT=$library CARGO_TARGET_DIR=target/other-systems/target \
        cargo build -Zbuild-std=std,panic_unwind --target $target --locked --bins
    programs=target/other-systems/target/$target/debug
fi
mkdir -p target/other-systems
work=$(mktemp -d "$PWD/target/other-systems/try.XXXXXX")
cp "$programs"/mapcast-{server,client}.exe "$work"
x86_64-w64-mingw32-gcc -shared -o "$work/bcryptprimitives.dll" tests/windows/bcryptprimitives.c -ladvapi32
x86_64-w64-mingw32-gcc -o "$work/hold.exe" tests/windows/hold.c

# Wine converts arguments from the encoding of the locale.
export LC_ALL=C.UTF-8
export WINEPREFIX=$work/prefix WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml=;bcryptprimitives=n"
clean_up() {
    # Ends what still runs in this prefix, and nothing else.
    [ ! -d "$WINEPREFIX" ] || "${wine%/*}/wineserver64" -k 2>/dev/null || wineserver -k 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
timeout 180 "$wine" cmd /c exit >/dev/null 2>&1 || { echo "Wine does not start here" >&2; exit 77; }
timeout 600 python3 tests/windows/try.py "$wine" "$work"
