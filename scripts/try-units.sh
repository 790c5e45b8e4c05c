#!/usr/bin/env bash
# Tests the units of packaging/systemd under a separate systemd, in its own namespaces and control groups, without changes to this
# machine. Needs root and Debian's package `systemd`, and takes half a minute. Exit codes: 0 all checks passed, 1 a check failed,
# 77 systemd cannot be started here.
#
#   scripts/try-units.sh target/debug/mapcast-server     # mapcast-client must be in the same directory
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 PATH-OF-MAPCAST-SERVER" >&2; exit 2; }
units=$(cd "$(dirname "$0")/.." && pwd)/packaging/systemd
work=$(mktemp -d)
groups=(/sys/fs/cgroup/*/)
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || groups=(/sys/fs/cgroup/)
clean_up() {
    rm -rf "$work"
    for group in "${groups[@]}"; do
        find "$group/mapcast-units" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
}
trap clean_up EXIT
cp "$1" "$work/mapcast-server"
cp "$(dirname "$1")/mapcast-client" "$work/mapcast-client"
for unit in "$units"/*; do
    sed 's|/usr/bin/mapcast-server|/mnt/mapcast-server|' "$unit" >"$work/$(basename "$unit")"
done

# The checks, one line each. The separate systemd runs this script as a service.
cat >"$work/checks.sh" <<'CHECKS'
status=0
check() { if [ "$2" = "$3" ]; then echo "ok: $1"; else echo "FAIL: $1: $2 instead of $3"; status=1; fi; }
of() { systemctl show "$1" --property "$2" --value; }
header() { exec 5<>/dev/tcp/127.0.0.1/8080; head -c 3 <&5; }

echo 'MAPCAST_SET=live=true' >/etc/default/mapcast
systemctl start mapcast.service
check "the service is ready with its first map" "$(of mapcast StatusText)" "0 active connections, 1 entry"
check "the service uses /etc/default/mapcast" "$(header)" "29 "
process=/proc/$(of mapcast MainPID)
check "the service has no capabilities" "$(sed -n 's/^CapEff:\t//p' "$process/status")" 0000000000000000
check "system calls are filtered" "$(sed -n 's/^Seccomp:\t//p' "$process/status")" 2
check "the user is not root" "$(stat -c %U "$process")" mapcast
systemctl stop mapcast.service
check "the service stops cleanly" "$(of mapcast Result)" success

mkdir -p /run/systemd/system/mapcast.service.d
printf '[Service]\nWatchdogSec=2s\nRestartSec=100ms\nTimeoutStopSec=1s\n' >/run/systemd/system/mapcast.service.d/short.conf
systemctl daemon-reload
systemctl start mapcast.service
sleep 4
check "an idle server is not restarted" "$(of mapcast NRestarts)" 0
kill -STOP "$(of mapcast MainPID)"
for _ in $(seq 100); do [ "$(of mapcast NRestarts)" = 0 ] || break; sleep 0.1; done
check "a hung server is restarted" "$(of mapcast NRestarts)" 1
systemctl stop mapcast.service

{ printf '{"x":"'; head -c 20000000 /dev/zero | tr '\0' x; echo '"}'; } >/etc/mapcast/large.json
printf '%s\n' MAPCAST_SOURCE=/etc/mapcast/large.json MAPCAST_MAX_FRAME=64MiB MAPCAST_DRAIN_TIMEOUT=3s >/etc/default/mapcast
systemctl start mapcast.service
header >/dev/null # and does not read further, so it must be disconnected
systemctl stop mapcast.service
check "a drain may be longer than TimeoutStopSec=" "$(of mapcast ExecMainStatus)" 1
exec 5>&-

rm /etc/default/mapcast
systemctl reset-failed mapcast.service
systemctl start mapcast.socket
check "the socket alone starts no service" "$(systemctl is-active mapcast.service)" inactive
check "the first client starts the service" "$(header)" 128
for _ in 1 2 3; do sleep 0.3; systemctl restart mapcast.service; done &
served=0
while [ -n "$(jobs -r)" ]; do header >/dev/null && served=$((served + 1)) || check "client $served" refused served; done
check "no client is refused during three restarts" "$((served > 0))" 1
systemctl stop mapcast.socket mapcast.service

for instance in a b; do
    printf '%s\n' MAPCAST_REUSE_PORT=true MAPCAST_LISTEN=127.0.0.1:8090 >"/etc/default/mapcast-$instance"
    systemctl start "mapcast@$instance.service"
done
check "two instances share a port" "$(systemctl is-active mapcast@a mapcast@b | uniq)" active
systemctl stop mapcast@a mapcast@b
check "instances have separate state directories" "$(ls -d /var/lib/mapcast-* | tr '\n' ' ')" "/var/lib/mapcast-a /var/lib/mapcast-b "

cat >/tmp/nasty.json <<'JSON'
{"a": "x y", "b": "it's $HOME", "c": "=ls", "d": "a\nb\\", "e": "\ufffe", "f": "\u001b[2J \"`", "UID": "0", "g": ""}
JSON
/mnt/mapcast-server -q --listen 127.0.0.1:8070 --source /tmp/nasty.json &
server=$!
for _ in $(seq 100); do /mnt/mapcast-client -qq -n 1 --write /tmp/nasty.env 127.0.0.1:8070 2>/dev/null && break; sleep 0.1; done
kill "$server"
cat >/run/systemd/system/nasty.service <<'UNIT'
[Service]
Type=oneshot
EnvironmentFile=/tmp/nasty.env
StandardOutput=file:/tmp/nasty.read
ExecStart=/usr/bin/printenv -0 a b c d f g
UNIT
systemctl daemon-reload
systemctl start nasty.service
check "a service reads the values of a file of variables" "$(tr '\0' '|' </tmp/nasty.read | base64 -w 0)" \
    "$(printf 'x y|it'"'"'s $HOME|=ls|a\nb\\|\033[2J "`||' | base64 -w 0)"
[ "$status" != 0 ] || echo "all checks passed"
CHECKS

# The machine as that systemd sees it: all writable files are copies in memory.
cat >"$work/boot.sh" <<'BOOT'
set -e
work=$1
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/out
cp "$work"/* /mnt/
mount --bind "$work" /mnt/out
mount -t proc proc /proc
legacy=$(mount -t cgroup | sed 's/.*(.*relatime,\(.*\))/\1/')
umount -l /sys/fs/cgroup
if [ -z "$legacy" ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
    mount -t tmpfs tmpfs /sys/fs/cgroup
    for controllers in $legacy; do
        mkdir "/sys/fs/cgroup/${controllers#name=}"
        case $controllers in name=*) options=none,$controllers ;; *) options=$controllers ;; esac
        mount -t cgroup -o "$options" cgroup "/sys/fs/cgroup/${controllers#name=}"
    done
    mkdir /sys/fs/cgroup/unified
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
fi
for directory in /run /tmp /var/lib; do mount -t tmpfs tmpfs "$directory"; done
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc
mount -t tmpfs tmpfs /etc/systemd/system
cp /mnt/*.service /mnt/*.socket /etc/systemd/system/
printf '[Unit]\nRequires=checks.service\n' >/etc/systemd/system/checks.target
cat >/etc/systemd/system/checks.service <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/bash /mnt/checks.sh
ExecStopPost=/bin/systemctl --no-block exit
StandardOutput=file:/mnt/out/results
StandardError=file:/mnt/out/results
TimeoutStartSec=120
UNIT
ip link set lo up
exec env -i container=lxc PATH="$PATH" /lib/systemd/systemd --system --unit=checks.target --log-target=console --show-status=no
BOOT

for group in "${groups[@]}"; do
    mkdir -p "$group/mapcast-units"
    for file in cpuset.cpus cpuset.mems; do
        [ ! -e "$group/mapcast-units/$file" ] || cat "$group/$file" >"$group/mapcast-units/$file" 2>/dev/null || true
    done
done
timeout 180 bash -c '
    work=$1; shift
    for group; do echo $$ >"$group/mapcast-units/cgroup.procs"; done
    exec unshare --pid --fork --kill-child --mount --uts --ipc --net --cgroup bash "$work/boot.sh" "$work"
' - "$work" "${groups[@]}" </dev/null >"$work/console" 2>&1 || true
if [ ! -e "$work/results" ]; then
    tail -n 5 "$work/console" >&2
    echo "systemd cannot be started here" >&2
    exit 77
fi
cat "$work/results"
grep -qx "all checks passed" "$work/results"
