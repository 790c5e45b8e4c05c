#!/usr/bin/env bash
# Runs static programs in a root that has only what packaging/docker/Dockerfile puts into the image, with the user, the variables and
# the health check that it names. Needs root and openssl. Exit codes: 0 all checks passed, 1 a check failed, 77 another root cannot be used here.
#
#   scripts/try-static.sh PATH-OF-MAPCAST-SERVER [EMULATOR]
#
# mapcast-client must be in the same directory. EMULATOR is a static program that runs the programs of another architecture:
# /usr/bin/qemu-aarch64-static.
set -euo pipefail
[ $# = 1 ] || [ $# = 2 ] || { echo "usage: $0 PATH-OF-MAPCAST-SERVER [EMULATOR]" >&2; exit 2; }
dockerfile=$(dirname "$0")/../packaging/docker/Dockerfile
# Prints the last argument of an instruction, without the brackets, quotes and commas of a list.
instruction() { sed -n "s/^$1 //p" "$dockerfile" | sed 's/.*CMD \[/[/' | tr -d '[]",' | tail -n 1; }
user=$(instruction USER)
variable=$(instruction ENV)
read -ra entrypoint <<<"$(instruction ENTRYPOINT)"
health_check=$(instruction HEALTHCHECK)
exposed=$(instruction EXPOSE)
chroot=$(command -v chroot) || exit 77
command -v openssl >/dev/null || { echo "no openssl" >&2; exit 77; }
work=$(mktemp -d)
server=
clean_up() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
root=$work/root
mkdir -p "$root/etc/ssl/certs"
cp "$1" "$(dirname "$1")/mapcast-client" "$root/"
emulator=()
if [ $# = 2 ]; then
    cp "$2" "$root/emulator"
    emulator=(/emulator)
fi
chroot --userspec="$user" "$root" "${emulator[@]}" /mapcast-server --version || exit 77

status=0
check() { if [ "$2" = "$3" ]; then echo "ok: $1"; else echo "FAIL: $1: $2 instead of $3"; status=1; fi; }
inside() { env -i "$chroot" --userspec="$user" "$root" "${emulator[@]}" "$@"; }
# Starts the server as the image does, but on a free port, and sets `port`.
start() {
    env -i "${variable/%:$exposed/:0}" "$chroot" --userspec="$user" "$root" "${emulator[@]}" "${entrypoint[@]}" "$@" 2>"$work/log" &
    server=$!
    port=
    for _ in $(seq 300); do
        port=$(sed -n 's/.*listening on 0\.0\.0\.0:\([0-9]*\).*/\1/p' "$work/log" | head -n 1)
        [ -z "$port" ] || return 0
        sleep 0.1
    done
    cat "$work/log" >&2
    echo "FAIL: the server does not listen"
    exit 1
}
stop() {
    local code=0
    kill "$server"
    wait "$server" || code=$?
    server=
    check "the server stops cleanly" "$code" 0
}

case "$variable $health_check" in
MAPCAST_LISTEN=0.0.0.0:"$exposed"\ *:"$exposed") ;;
*) check "the port of the image" "$variable, $health_check" "EXPOSE $exposed" ;;
esac
# What the documentation promises of packages beyond a build without features.
for option in --tls-cert --redis-password-file; do
    check "the server has $option" "$(inside /mapcast-server --help | grep -c -e "  *$option ")" 1
done

for format in bincode json msgpack pickle text; do
    start --format "$format" --set "answer=42"
    code=0
    read -ra words <<<"${health_check/%:$exposed/:$port}"
    inside "${words[@]}" || code=$?
    check "the health check of the image reads $format" "$code" 0
    check "the client reads $format" "$(inside /mapcast-client get --server "127.0.0.1:$port" answer)" 42
    stop
done

# A certificate whose CA is among the roots of the system, as in an image with ca-certificates.crt.
(
    cd "$work"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=ca -days 2 -keyout ca.key -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout root/key.pem -out server.csr
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out root/cert.pem \
        -extfile <(echo subjectAltName=IP:127.0.0.1)
    cp ca.pem root/etc/ssl/certs/ca-certificates.crt
    chown "$user" root/key.pem
) 2>/dev/null
start --set answer=42 --tls-cert /cert.pem --tls-key /key.pem
check "TLS trusts the CA certificates of the image" "$(inside /mapcast-client get --tls --server "127.0.0.1:$port" answer)" 42
stop
[ "$status" != 0 ] || echo "all checks passed"
exit "$status"
