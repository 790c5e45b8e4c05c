#!/usr/bin/env bash
# A peer vanishes with bytes unacknowledged: TCP_USER_TIMEOUT ends its connection. Keepalive is off, to be no help.
. "$(dirname "$0")/network.bash"

start_server --interval 1s --keepalive 0
"${in_far[@]}" "$programs/mapcast-client" --output none "$address:8080" 2>"$directory/client.log" &
children+=($!)
wait_for "$directory/server.log" "client 1 connected" 10
"${in_far[@]}" ip link set far down
began=$(now)
wait_for "$directory/server.log" "client 1 disconnected" 45
figure "gone after $((($(now) - began) / 1000)) s with a frame a second and no keepalive"
grep -q "active connections: 0" "$directory/server.log" || fail "still counted"
