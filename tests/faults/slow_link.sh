#!/usr/bin/env bash
# A slow link: a frame that it can carry by the deadline arrives; a larger one is cut, again and again, and never followed
# by another one on the same connection.
. "$(dirname "$0")/network.bash" tc

"${in_near[@]}" tc qdisc add dev near root tbf rate 64kbit burst 2kb latency 400ms || skip "no token bucket filter"

printf '{"text":"%016384d"}' 0 >"$directory/small.json"
start_server --write-timeout 3s --source "$directory/small.json"
began=$(now)
"${in_far[@]}" "$programs/mapcast-client" -n 1 -o none -W 20s "$address:8080" 2>"$directory/client.log" ||
    fail "16 KiB did not arrive"
took=$(($(now) - began))
kill "$server" && wait "$server" || fail "the server did not stop in order"

# By the deadline it carries 96 kB, and the kernels hold less than 200 kB. In the client's time it carries 1,200 kB: if a torn
# frame were followed by others, the client would have the 600 kB that the first header announces, and read on behind them.
"${in_near[@]}" tc qdisc change dev near root tbf rate 256kbit burst 2kb latency 400ms
printf '{"text":"%0600000d"}' 0 >"$directory/large.json"
start_server --write-timeout 3s --interval 1s --source "$directory/large.json"
code=0
"${in_far[@]}" "$programs/mapcast-client" -o json -W 40s --stale-after 1m "$address:8080" \
    >"$directory/maps" 2>"$directory/client.log" || code=$?
# 124 is the time that was given; 4 would be bytes that are no frame.
[ "$code" = 124 ] || fail "the client left with $code"
[ ! -s "$directory/maps" ] || fail "the client has a map of torn frames"
cuts=$(grep -c "not taken within 3s: too slow, cut" "$directory/server.log") || fail "the server never cut"
lost=$(grep -c "connection lost" "$directory/client.log") || fail "the client never noticed"
figure "16 KiB in $took ms; 600 kB cut by the deadline $cuts times in 40 s, noticed $lost times, no torn frame read"
