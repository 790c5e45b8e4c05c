#!/usr/bin/env bash
# A link of 64 kbit/s: a frame that it can carry by the deadline arrives; a larger one is cut, again and again, and never
# followed by another one on the same connection.
. "$(dirname "$0")/network.bash" tc

"${in_near[@]}" tc qdisc add dev near root tbf rate 64kbit burst 2kb latency 400ms || skip "no token bucket filter"

printf '{"text":"%016384d"}' 0 >"$folder/small.json"
start_server --write-timeout 3s --source "$folder/small.json"
began=$(now)
"${in_far[@]}" "$programs/mapcast-client" -n 1 -o none -W 20s "$address:8080" 2>"$folder/client.log" ||
    fail "16 KiB did not arrive"
took=$(($(now) - began))
kill "$server" && wait "$server" || fail "the server did not stop in order"

printf '{"text":"%0600000d"}' 0 >"$folder/large.json"
start_server --write-timeout 3s --interval 1s --source "$folder/large.json"
code=0
"${in_far[@]}" "$programs/mapcast-client" -o json -W 25s --stale-after 20s "$address:8080" \
    >"$folder/maps" 2>"$folder/client.log" || code=$?
# 124 is the time that was given; 4 would be bytes that are no frame.
[ "$code" = 124 ] || fail "the client left with $code"
[ ! -s "$folder/maps" ] || fail "75 s of bytes cannot have arrived"
cuts=$(grep -c "not taken within 3s: too slow, cut" "$folder/server.log") || fail "the server never cut"
lost=$(grep -c "connection lost" "$folder/client.log") || fail "the client never noticed"
figure "16 KiB in $took ms; 600 kB cut by the deadline $cuts times in 25 s, noticed $lost times, no torn frame read"
