#!/usr/bin/env bash
# Shows what a released file promises, on a machine without a GPU: its kind and size, how fast it starts, that it is enough in an
# empty root, what its first and later starts cost, and that it runs the sanity suite in older Debian roots.
#
#     scripts/dist_check.sh FILE [SUITE_OF_DEBIAN]...        (such as: bullseye bookworm)
#
# Each Debian root is made once under target/dist/.roots with debootstrap, which needs root; everything else needs only user
# namespaces (unshare). Prints one line for each fact; exits 1 if one of them is not as promised.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
file=$(realpath -- "${1:?name the file to check}")
shift
failed=0
# What the file carries is checked, not what this shell names.
unset EDGEBENCH_ORT EDGEBENCH_RUNTIME_DIR ORT_DYLIB_PATH
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# One fact: what, how it is, and whether it is as promised (a command's exit code).
fact() {
    local verdict=ok
    if [ "$3" != 0 ]; then verdict=FAILED failed=1; fi
    printf '%-52s %-34s %s\n' "$1" "$2" "$verdict"
}

# Whether the first number is below the second.
below() { awk -v a="$1" -v b="$2" 'BEGIN { print a < b ? 0 : 1 }'; }

# Milliseconds of a command, its output dropped; empty if it fails.
milliseconds() {
    local began=$EPOCHREALTIME ended
    "$@" >/dev/null 2>&1 || return 0
    ended=$EPOCHREALTIME
    awk -v a="$began" -v b="$ended" 'BEGIN { printf "%.1f\n", (b - a) * 1000 }'
}

# The middle one of 20 such times.
median() {
    local i
    for i in {1..20}; do milliseconds "$@"; done | sort -n | awk '{ value[NR] = $1 } END { if (NR == 20) print value[10]; else print "failed" }'
}

# A command in a root folder, alone in it: its own /proc, /dev and process ids.
within() {
    local root=$1
    shift
    unshare --map-root-user --mount --pid --fork sh -c '
        root=$1; shift
        mkdir -p "$root/proc" "$root/dev" && mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" && exec chroot "$root" "$@"' sh "$root" "$@"
}

kind=$(file -b "$file")
grep -q 'static-pie linked' <<<"$kind" && code=0 || code=1
fact "file" "$(grep -oE 'static-pie linked|dynamically linked|statically linked' <<<"$kind" | head -n 1)" $code
linked=$(ldd "$file" 2>&1 || true)
grep -qE 'statically linked|not a dynamic executable' <<<"$linked" && code=0 || code=1
fact "ldd" "$(head -n 1 <<<"$linked" | xargs)" $code
fact "size" "$(stat -c %s "$file") bytes" 0

time=$(median "$file" --help)
fact "--help, median of 20 (limit 20 ms)" "$time ms" "$(below "$time" 20)"

# An empty root: the file and nothing else, no /proc, no /dev, no /tmp.
mkdir "$scratch/empty"
cp "$file" "$scratch/empty/edgebench"
alone() { unshare --map-root-user chroot "$scratch/empty" /edgebench "$@"; }
for arguments in --help models licenses; do
    lines=$(alone "$arguments" 2>&1 | wc -l) && code=0 || code=$?
    fact "empty root: $arguments" "$lines lines" $code
done

# The first start extracts, later ones do not. With a budget that no model fits, the worker is started to ask for the device, and
# nothing is run. The result goes to memory where there is a folder for that: syncing it to a disk is no part of a start.
export XDG_CACHE_HOME=$scratch/cache
nothing=$(mktemp -p /dev/shm 2>/dev/null || mktemp -p "$scratch")
trap 'rm -rf "$scratch" "$nothing"' EXIT
start=("$file" --device cpu --model tiny-gpt2 --vram-budget 1M --quiet -o "$nothing")
first=$(milliseconds "${start[@]}")
fact "first start, with extraction (limit 3000 ms)" "${first:-failed} ms" "$(below "${first:-9999}" 3000)"
later=$(median "${start[@]}")
fact "later start, median of 20 (limit 50 ms)" "$later ms" "$(below "$later" 50)"
extracted=$(du -sb "$scratch/cache/edgebench/runtime" | cut -f1) && code=0 || code=1
fact "extracted" "${extracted:-no} bytes" $code

result=$scratch/empty/result.json
if "$file" --model tiny-llama --device cpu -p 16 -n 8 -r 1 --format json >"$result" 2>"$scratch/log"; then code=0; else code=$?; fi
fact "tiny-llama on the CPU" "$(stat -c %s "$result") bytes of result" $code
[ $code = 0 ] || cat "$scratch/log"
for arguments in "show /result.json" "compare /result.json /result.json" "--dry-run --device cpu --vram-budget 1G --suite sanity"; do
    # shellcheck disable=SC2086  # several words
    lines=$(alone $arguments 2>&1 | wc -l) && code=0 || code=$?
    fact "empty root: ${arguments//\/result.json/that result}" "$lines lines" $code
done

for suite in "$@"; do
    root=$PWD/target/dist/.roots/$suite
    if [ ! -d "$root" ]; then
        mirror=${DIST_MIRROR:-$(apt-get indextargets --format '$(SITE)' "Codename: $(. /etc/os-release && echo "$VERSION_CODENAME")" 'Component: main' | head -n 1)}
        mkdir -p "${root%/*}"
        unshare --mount --propagation private debootstrap --variant=minbase "$suite" "$root.part" "$mirror" >"$scratch/log" 2>&1 ||
            { tail -n 3 "$scratch/log" >&2 && fact "root of $suite" "debootstrap failed" 1 && continue; }
        mv "$root.part" "$root"
    fi
    cp "$file" "$root/edgebench"
    glibc=$(within "$root" ldd --version | sed -n '1s/.* //p')
    began=$SECONDS
    if within "$root" env -i HOME=/root PATH=/usr/bin:/bin /edgebench --suite sanity --device cpu --vram-budget 2G --format markdown >"$scratch/table" 2>"$scratch/log"; then code=0; else code=$?; fi
    fact "$suite, glibc $glibc: --suite sanity --device cpu" "exit $code, $((SECONDS - began)) s" $code
    if [ $code = 0 ]; then grep -oE '^[0-9]+ of [0-9]+ trials ran to the end' "$scratch/table" | sed 's/^/    /'; else cat "$scratch/log"; fi
    rm -rf "$root/edgebench" "$root/root/.cache"
done
exit $failed
