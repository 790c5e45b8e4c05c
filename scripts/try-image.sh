#!/usr/bin/env bash
# Carries out the steps of packaging/docker/Dockerfile that build the programs, in a directory and without a container engine: the files
# that the build sees, the empty programs, and the final ones. Uses this machine's Rust, and no optimization. Takes some minutes.
# Changes nothing outside target/. scripts/try-static.sh tries the image's root. Exit codes: 0 all steps passed, 1 one failed.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p target
work=$(mktemp -d "$PWD/target/image.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/context" "$work/mapcast" "$work/image"
# What Dockerfile.dockerignore lets in.
sed -n 's/^!//p' packaging/docker/Dockerfile.dockerignore | while read -r path; do cp -r "$path" "$work/context/"; done

# The steps of the first stage, one line each.
sed -e ':join' -e '/\\$/{N;s/\\\n */ /;b join' -e '}' packaging/docker/Dockerfile | sed -n '/^FROM .* AS build$/,/^FROM scratch$/p' >"$work/steps"
export CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
unset CARGO_TARGET_DIR CARGO_BUILD_TARGET
while read -r instruction arguments; do
    case $instruction in
    COPY)
        read -ra paths <<<"$arguments"
        destination=$work/mapcast/${paths[-1]}
        [ ! -d "$work/context/${paths[0]}" ] || mkdir -p "$destination"
        for path in "${paths[@]::${#paths[@]}-1}"; do
            # COPY copies the content of a directory.
            if [ -d "$work/context/$path" ]; then cp -r "$work/context/$path/." "$destination"; else cp "$work/context/$path" "$destination"; fi
        done
        ;;
    RUN)
        case $arguments in "apk add "*) echo "not carried out: $arguments"; continue ;; esac
        echo "carrying out: ${arguments:0:100}"
        (cd "$work/mapcast" && sh -ec "${arguments//\/image\//$work/image/}") </dev/null
        ;;
    esac
done <"$work/steps"

status=0
check() { if [ "$2" = "$3" ]; then echo "ok: $1"; else echo "FAIL: $1: $2 instead of $3"; status=1; fi; }
check "the files of the image" "$(cd "$work/image" && find . -type f | sort | tr '\n' ' ')" \
    "./LICENSE ./etc/ssl/certs/ca-certificates.crt ./mapcast-client ./mapcast-server "
# The empty programs of the layer of dependencies print nothing.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
for program in mapcast-server mapcast-client; do
    check "the image has the real $program" "$("$work/image/$program" --version)" "$program $version"
done
[ "$status" != 0 ] || echo "all steps passed"
exit "$status"
