#!/usr/bin/env bash
# Builds the Debian package target/debian/mapcast_VERSION-1_ARCHITECTURE.deb. Installs cargo-deb if it is missing.
#
#   scripts/package.sh          # builds the package and prints its path
#   scripts/package.sh --try    # also installs, checks and removes it; needs root
set -euo pipefail
cd "$(dirname "$0")/.."

try=
case ${1-} in
"") ;;
--try) try=1 ;;
*) echo "usage: $0 [--try]" >&2; exit 2 ;;
esac

if ! cargo deb --version >/dev/null 2>&1; then
    cargo install cargo-deb --version 3.8.0 --locked --quiet
fi
package=$(cargo deb --quiet --strip -- --locked | tail -n 1)
echo "$package"
[ -n "$try" ] || exit 0

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
