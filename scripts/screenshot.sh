#!/usr/bin/env bash
# Takes the pictures of the page again: docs/page.png and docs/page-dark.png, of a server of its own with 200 clients that
# came and went for 15 minutes. Wants chromium and chromedriver; where there is the font Inter, the page wears it (on
# Debian: chromium, chromium-driver, fonts-inter). pngquant and optipng make the files smaller, where they are installed.
#
#   scripts/screenshot.sh            # 15 minutes
#   scripts/screenshot.sh 60         # a line of one minute
set -euo pipefail
cd "$(dirname "$0")/.."

export MAPCAST_PICTURES_SECONDS=${1:-920} MAPCAST_TESTS_COMPLETE=1
cargo test --test integration page::pictures -- --ignored
for picture in docs/page.png docs/page-dark.png; do
    ! command -v pngquant >/dev/null || pngquant --force --skip-if-larger --output "$picture" 128 "$picture"
    ! command -v optipng >/dev/null || optipng -quiet "$picture"
    ls -l "$picture"
done
