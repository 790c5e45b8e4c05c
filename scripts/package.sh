#!/usr/bin/env bash
# Builds the Debian package target/debian/mapcast_VERSION-1_ARCHITECTURE.deb. Installs cargo-deb if it is missing. Exit codes: 0 all
# checks passed, 1 one failed, 2 wrong arguments, 77 cargo-deb cannot be installed.
#
#   scripts/package.sh               # builds the package and prints its path
#   scripts/package.sh --try         # also inspects it with lintian, installs, checks and removes it; needs root
#   scripts/package.sh --try FILE    # the same for a package that has been built
#   scripts/package.sh --cross TARGET DIRECTORY   # packs programs that scripts/release.sh has built, and inspects the package
set -euo pipefail
cd "$(dirname "$0")/.."

try=
target=
package=
case ${1-}:$# in
:0) ;;
--try:1) try=1 ;;
--try:2) try=1 package=$2 ;;
--cross:3) target=$2 ;;
*) echo "usage: $0 [--try [FILE] | --cross TARGET DIRECTORY]" >&2; exit 2 ;;
esac

if [ -z "$package" ] && ! cargo deb --version >/dev/null 2>&1; then
    cargo install cargo-deb --version 3.8.0 --locked --quiet || exit 77
fi

# Checks package $1 without installing it: the links of its documentation, and every warning and error of lintian.
inspect() {
    local root
    root=$(mktemp -d)
    dpkg-deb --extract "$1" "$root"
    python3 - "$root/usr/share/doc/mapcast" <<'LINKS' || { rm -rf "$root"; return 1; }
import pathlib, re, sys
directory = pathlib.Path(sys.argv[1])
pages = sorted(directory.rglob("*.md"))
links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")) if "://" not in link]
broken = [f"{page.relative_to(directory)}: {link}" for page, link in links if not (page.parent / link).exists()]
print(f"{len(links)} links in {len(pages)} pages, {len(broken)} broken", *broken, sep="\n")
sys.exit(bool(broken) or not links or not (directory / "CHANGELOG.md").exists())
LINKS
    rm -rf "$root"
    if ! command -v lintian >/dev/null; then
        echo "lintian is missing: the package is not inspected" >&2
        return
    fi
    lintian --fail-on error,warning --info --allow-root "$1" && echo "lintian accepts $(basename "$1")"
}

if [ -n "$target" ]; then
    package=$(cargo deb --quiet --no-build --no-strip --locked --variant=cross --target "$target" --output "$3/" | tail -n 1)
    inspect "$package"
    exit
fi
[ -n "$package" ] || package=$(cargo deb --quiet --no-strip --locked | tail -n 1)
echo "$package"
[ -n "$try" ] || exit 0

inspect "$package"
if dpkg-query --show mapcast >/dev/null 2>&1; then
    echo "mapcast is already installed; remove it with dpkg --purge mapcast" >&2
    exit 1
fi
trap 'dpkg --purge mapcast' EXIT
dpkg --install "$package"
mapcast-server --version
mapcast-client --version
dpkg --listfiles mapcast | grep --fixed-strings man1/mapcast-server.1
if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify --man=no /usr/lib/systemd/system/mapcast{.service,.socket,@.service}
    echo "systemd-analyze accepts the units"
fi
trap - EXIT
dpkg --remove mapcast
[ -e /etc/default/mapcast ] || { echo "removal deleted the configuration, which only a purge may delete" >&2; exit 1; }
dpkg --purge mapcast
left=$(find /etc /usr/bin /usr/lib/systemd /usr/share /var/lib/systemd -name '*mapcast*')
[ -z "$left" ] || { echo "files remain after the purge: $left" >&2; exit 1; }
