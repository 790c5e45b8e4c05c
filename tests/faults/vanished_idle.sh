#!/usr/bin/env bash
# A peer vanishes without FIN or RST while nothing is sent: keepalive ends its connection.
. "$(dirname "$0")/network.bash"

start_server --interval 1h --keepalive 1s
"${in_far[@]}" "$programs/mapcast-client" --output none "$address:8080" 2>"$directory/client.log" &
children+=($!)
wait_for "$directory/server.log" "client 1 connected" 10
"${in_far[@]}" ip link set far down
began=$(now)
# One question after 1 s and one every 10 s; TCP_USER_TIMEOUT, 30 s, ends it at the next one.
wait_for "$directory/server.log" "client 1 disconnected" 45
figure "gone after $((($(now) - began) / 1000)) s with --keepalive 1s"
grep -q "active connections: 0" "$directory/server.log" || fail "still counted"
