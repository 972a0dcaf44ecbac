#!/usr/bin/env bash
# Runs a released aarch64 file on this x86_64 machine, emulated, to a finished result on each of three processors.
#
#     scripts/dist_qemu.sh FILE [ARGUMENT]...     (arguments of edgebench; default: a small run of tiny-llama on the CPU)
#
# Emulation is qemu-user of Debian sid (that of Debian 12 crashes as soon as ONNX Runtime is loaded) with sid's C library for the
# worker, both unpacked into target/dist/.qemu; the machine's own packages stay as they are. The static front starts the worker
# by exec, so the kernel must know the emulator: this needs root, and the entry is taken back at the end. Times mean nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
file=$(realpath -- "${1:?name the aarch64 file}")
shift
[ $# -gt 0 ] || set -- --model tiny-llama --device cpu --prompt-tokens 16 --gen-tokens 8 --repetitions 2
folder=$PWD/target/dist/.qemu
entry=/proc/sys/fs/binfmt_misc/edgebench-aarch64

if [ ! -d "$folder" ]; then
    mirror=${DIST_MIRROR:-$(apt-get indextargets --format '$(SITE)' "Codename: $(. /etc/os-release && echo "$VERSION_CODENAME")" 'Component: main' | head -n 1)}
    work=$folder.part
    rm -rf "$work"
    mkdir -p "$work"/apt/{lists/partial,archives/partial} "$work"/{debs,tools,root}
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$work/apt/sources.list"
    own=(-o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::Lists=$work/apt/lists"
        -o "Dir::Cache=$work/apt" -o Dir::State::status=/dev/null -o APT::Architectures::=amd64 -o APT::Architectures::=arm64
        -o APT::Sandbox::User=root)
    apt-get "${own[@]}" update -qq
    (cd "$work/debs" && apt-get "${own[@]}" download -qq qemu-user libc6:arm64 libgcc-s1:arm64 libstdc++6:arm64)
    for package in "$work"/debs/*_arm64.deb; do dpkg -x "$package" "$work/root"; done
    dpkg -x "$work"/debs/qemu-user_*.deb "$work/tools"
    [ -e "$work/root/lib" ] || ln -s usr/lib "$work/root/lib"
    rm -rf "$work/apt" "$work/debs"
    mv "$work" "$folder"
fi

mountpoint -q "${entry%/*}" || mount -t binfmt_misc none "${entry%/*}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"; [ ! -e "$entry" ] || echo -1 >"$entry"' EXIT
if [ -e "$entry" ]; then echo -1 >"$entry"; fi
# 64-bit little-endian ELF for machine 0xb7, programs and shared objects alike.
printf '%s' ':edgebench-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:'"$folder/tools/usr/bin/qemu-aarch64:F" \
    >"${entry%/*}/register"

export QEMU_LD_PREFIX=$folder/root
"$folder/tools/usr/bin/qemu-aarch64" --version | head -n 1
for cpu in max cortex-a57 cortex-a76; do
    export QEMU_CPU=$cpu XDG_CACHE_HOME=$scratch/$cpu
    echo "==> $cpu: --help ($("$file" --help | wc -l) lines), models ($("$file" models | wc -l) lines), then: $*"
    "$file" "$@" --format markdown --output "$scratch/$cpu.json"
    rm -rf "${XDG_CACHE_HOME:?}"
done
