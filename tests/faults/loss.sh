#!/usr/bin/env bash
# Five in a hundred packets are lost, in both directions, for 60 s: every frame that comes is whole, none is older than the
# one before it, and the newest arrives.
. "$(dirname "$0")/network.bash" nft awk

seconds=60 clients=3
for namespace in "$near" "$far"; do
    ip netns exec "$namespace" nft -f - <<'RULES' || skip "no nftables, or none that can choose at random"
table inet loss {
    chain input {
        type filter hook input priority 0
        numgen random mod 100 < 5 counter drop
    }
}
RULES
done

# Each map says its number 500 times: some 2 KB, two packets.
write_maps() {
    local number text deadline=$(($(now) + seconds * 1000))
    for ((number = 1; $(now) < deadline; number++)); do
        printf -v text "$number,%.0s" {1..500}
        printf '{"n":%d,"text":"%s"}\n' "$number" "$text"
        sleep 0.05
    done
    echo "$number" >"$directory/last"
    printf '{"n":%d,"text":""}\n' "$number"
    exec sleep 60 # the input stays open; clean_up ends this
}

mkfifo "$directory/maps"
write_maps >"$directory/maps" &
children+=($!)
start_server --interval 1s --format json --source - <"$directory/maps"
readers=()
# One handshake in ten loses a packet, which is sent again after 1 s, 3 s, 7 s (RFC 6298); one in a hundred takes longer than
# the 2 s that a client gives its server unless told otherwise. What is tried here comes after it.
for ((client = 1; client <= clients; client++)); do
    "${in_far[@]}" "$programs/mapcast-client" --format json --no-reconnect --connect-timeout 20s "$address:8080" \
        2>"$directory/client-$client.log" \
        > >(while IFS= read -r line; do printf '%s %s\n' "$EPOCHREALTIME" "$line"; done >"$directory/maps-$client") &
    readers+=($!)
    children+=($!)
done

sleep "$seconds"
for ((client = 1; client <= clients; client++)); do
    wait_for "$directory/last" "" 10
    wait_for "$directory/maps-$client" "{\"n\":$(<"$directory/last"),\"text\":\"\"}" 20
done
kill "$server"
for reader in "${readers[@]}"; do
    wait "$reader" || fail "a client did not see an orderly end between two frames"
done
dropped=$(for namespace in "$near" "$far"; do
    ip netns exec "$namespace" nft list chain inet loss input | sed -n 's/.*counter packets \([0-9]*\) .*/\1/p'
done | awk '{ sum += $1 } END { print sum }')
[ "$dropped" -gt 50 ] || fail "only $dropped packets were lost: nothing was tried"

checked=$(awk '
    {
        number = text = $2
        sub(/^.*"n":/, "", number); sub(/,.*/, "", number)
        sub(/^.*"text":"/, "", text); sub(/"}$/, "", text)
        said = gsub(number ",", "", text)
        if ((said != 500 && said != 0) || text != "") { print "torn: " number > "/dev/stderr"; exit 1 }
        if (FNR > 1 && number + 0 < last) { print number " after " last > "/dev/stderr"; exit 1 }
        if (FNR > 1 && $1 - time > gap) gap = $1 - time
        last = number + 0; time = $1; frames++
    }
    END { if (frames) printf "%d frames whole and in order, longest gap %.1f s", frames, gap }
' "$directory"/maps-*) || fail "a frame was torn or out of order"
figure "$checked, $dropped packets lost, $clients clients, $seconds s"
