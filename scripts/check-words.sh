#!/usr/bin/env bash
# Finds retired names in the sources and phrases that the style rules exclude: file:line: the word, then the line.
# Exit code 1 if there are any. Checks this project, or the directory that is given.
set -euo pipefail
cd "${1:-"$(dirname "$0")/.."}"

# Names of types, functions and threads that have been replaced. Whole words, as they are written.
names=(
    Bell Belled BelledThread Ringer Outlet ClientOutlet Audience Seat Herald Census Goodbye Keeper Movable
    Unmet Complaint OBITUARY Obituary lookthrough look_through move_from_here stand_back turn_away ask_for_life has_stood
    ring_news bell outlet audience seat herald census aide
)

# Phrases, in any case. A regular expression each.
phrases=(
    nobody "somebody('s)?" whoever whom "is told" "are told" "was told" "takes? note" "taken note" "folders?" "whole numbers?"
    "look-ups?" "left to chance" "ends? it in order" "is no fault"
)

# Where each list holds, as far as it is there.
existing() {
    local path
    for path in "$@"; do [ ! -e "$path" ] || echo "$path"; done
}

# Prints each line of the files on standard input that has one of the words: their list, then the options of grep.
find_words() {
    local words=$1
    shift
    xargs -0 -r grep -HnwE "$@" -e "$words" || [ $? = 123 ] || [ $? = 1 ]
}

join() {
    local IFS='|'
    echo "$*"
}

files() {
    existing "$@" | xargs -r -d '\n' -I{} find {} -type f \
        \( -name '*.rs' -o -name '*.md' -o -name '*.sh' -o -name '*.bash' \) -print0 | sort -z
}

# A page in Spanish, and entries about versions that had the old names.
exempt() { grep -zvE '(^|/)(docs/guia\.md|CHANGELOG\.md|scripts/check-words\.sh)$' || true; }

found=$(
    files src tests benches examples | exempt | find_words "$(join "${names[@]}")"
    files src docs | exempt | find_words "$(join "${phrases[@]}")" -i
)
[ -n "$found" ] || exit 0
printf '%s\n' "$found" | sort -u
printf '%s words that are not used here; CONTRIBUTING.md has the rules\n' "$(printf '%s\n' "$found" | sort -u | wc -l)" >&2
exit 1
