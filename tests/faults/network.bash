# Two network namespaces, joined by a cable of their own. Sourced by the scripts beside it with the commands that they
# need; whatever happens, nothing is left behind. Exit codes: 0 as promised, 1 not, 77 cannot be tried here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

programs=${MAPCAST_PROGRAMS:-$PWD/target/debug}
fault=$(basename "$0" .sh)
near=mapcast-$$-near far=mapcast-$$-far # the server's namespace, the clients'
address=10.77.0.1
directory=$(mktemp -d)
children=()

clean_up() {
    local code=$?
    [ "$code" = 0 ] || [ "$code" = 77 ] || tail -n 5 "$directory"/*.log >&2 || true
    for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
    for child in "${children[@]}"; do wait "$child" 2>/dev/null || true; done
    ip netns del "$near" 2>/dev/null || true
    ip netns del "$far" 2>/dev/null || true
    rm -rf "$directory"
}

skip() { echo "$fault: skipped: $1"; exit 77; }
fail() { echo "$fault: failed: $1"; exit 1; }
figure() { echo "$fault: $1"; }

# Not functions: a function in the background would be a shell of its own, and its child would outlive it.
in_near=(ip netns exec "$near")
in_far=(ip netns exec "$far")

# The time in milliseconds.
now() { echo $((${EPOCHREALTIME/./} / 1000)); }

# Waits until a file has a line with the text; fails after so many seconds.
wait_for() {
    local file=$1 text=$2 seconds=$3 deadline
    deadline=$(($(now) + seconds * 1000))
    until grep -qF "$text" "$file" 2>/dev/null; do
        [ "$(now)" -lt "$deadline" ] || fail "no line with \"$text\" in $seconds s"
        sleep 0.05
    done
}

# Starts the server with these options and our standard input; its log goes to server.log.
start_server() {
    local log=$directory/server.log
    "${in_near[@]}" "$programs/mapcast-server" --listen "$address:8080" "$@" <&0 2>"$log" &
    server=$!
    children+=("$server")
    wait_for "$log" "listening on" 10
}

[ "$(id -u)" = 0 ] || skip "not root"
for command in ip "$@"; do
    command -v "$command" >/dev/null || skip "no $command"
done
[ -x "$programs/mapcast-server" ] || fail "no $programs/mapcast-server: cargo build"
trap clean_up EXIT
ip netns add "$near" 2>/dev/null && ip netns add "$far" || skip "no network namespaces"
ip link add near netns "$near" type veth peer name far netns "$far" || skip "no veth devices"
"${in_near[@]}" ip address add "$address/24" dev near
"${in_far[@]}" ip address add 10.77.0.2/24 dev far
"${in_near[@]}" ip link set near up
"${in_far[@]}" ip link set far up
