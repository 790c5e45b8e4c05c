#!/usr/bin/env bash
# Builds the Debian package target/debian/mapcast_VERSION-1_ARCHITECTURE.deb. Installs cargo-deb if it is missing.
#
#   scripts/package.sh          # builds the package and prints its path
#   scripts/package.sh --try    # also inspects it with lintian, installs, checks and removes it; needs root
#   scripts/package.sh --cross TARGET DIRECTORY   # packs programs that scripts/release.sh has built, into DIRECTORY
set -euo pipefail
cd "$(dirname "$0")/.."

try=
target=
case ${1-}:$# in
:0) ;;
--try:1) try=1 ;;
--cross:3) target=$2 ;;
*) echo "usage: $0 [--try | --cross TARGET DIRECTORY]" >&2; exit 2 ;;
esac

if ! cargo deb --version >/dev/null 2>&1; then
    cargo install cargo-deb --version 3.8.0 --locked --quiet
fi

# Prints every warning and error of lintian about package $1; fails if there is one.
inspect() {
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
package=$(cargo deb --quiet --no-strip --locked | tail -n 1)
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
# The links of the documentation, from where they are installed.
python3 - /usr/share/doc/mapcast <<'LINKS'
import pathlib, re, sys
pages = sorted(pathlib.Path(sys.argv[1]).rglob("*.md"))
links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()) if "://" not in link]
broken = [f"{page}: {link}" for page, link in links if not (page.parent / link).exists()]
print(f"{len(links)} links in {len(pages)} pages, {len(broken)} broken", *broken, sep="\n")
sys.exit(bool(broken) or not links)
LINKS
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
