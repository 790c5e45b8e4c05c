#!/usr/bin/env bash
# Renews the screenshots docs/page.png and docs/page-dark.png, of its own server whose 200 clients connect and disconnect for 15
# minutes. Needs chromium and chromedriver, and uses the font Inter if it is installed (on Debian: chromium, chromium-driver,
# fonts-inter). Shrinks the files with pngquant and optipng if they are installed.
#
#   scripts/screenshot.sh            # 15 minutes
#   scripts/screenshot.sh 60         # one minute
set -euo pipefail
cd "$(dirname "$0")/.."

export MAPCAST_PICTURES_SECONDS=${1:-920} MAPCAST_TESTS_COMPLETE=1
cargo test --test integration page::pictures -- --ignored
for picture in docs/page.png docs/page-dark.png; do
    ! command -v pngquant >/dev/null || pngquant --force --skip-if-larger --output "$picture" 128 "$picture"
    ! command -v optipng >/dev/null || optipng -quiet "$picture"
    ls -l "$picture"
done
