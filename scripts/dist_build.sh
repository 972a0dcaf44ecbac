#!/usr/bin/env bash
# Builds the two programs of a released file: the static front and the worker for an old glibc. scripts/dist.sh calls it.
#
#     scripts/dist_build.sh TARGET GLIBC FOLDER
#
# They land in FOLDER/TARGET/dist-front and FOLDER/TARGET/dist. CARGO_ZIGBUILD and CARGO_ZIGBUILD_ZIG_PATH name the tools,
# DIST_VENDOR a folder of all crates where there is one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$1 glibc=$2 folder=$3

# The flags go to the target alone (that is what --target is for, also where it is the host): a proc macro cannot be static.
list() {
    local flag text=
    for flag in "$@"; do text+="\"$flag\","; done
    echo "target.$target.rustflags=[${text%,}]"
}

# Panic messages keep the file and line, without this machine's folders.
home=${CARGO_HOME:-$HOME/.cargo}
common=(--remap-path-prefix="$PWD"=.)
for source in "$home"/registry/src/*/ ${DIST_VENDOR:+"$DIST_VENDOR"}; do
    [ -d "$source" ] && common+=(--remap-path-prefix="${source%/}"=crates)
done

front=(-C target-feature=+crt-static) worker=() linker=() strip=strip
case $target in
x86_64-*)
    # Packed relocations take 6 KB where plain ones take 400 (static start code handles them since glibc 2.36). Unwind tables
    # serve a backtrace only, which in a stripped program has no names: 390 KB.
    front+=(-C link-arg=-Wl,-z,pack-relative-relocs -C link-arg=-Wl,--no-eh-frame-hdr -C "link-arg=-Wl,-T,$PWD/scripts/dist_front.ld")
    ;;
aarch64-*)
    # 64 KiB between segments: the file then loads under any page size, which on Arm may be 4, 16 or 64 KiB.
    worker=(-C link-arg=-Wl,-z,max-page-size=65536)
    # Rust makes no static-pie for this target by itself; the C compiler does.
    front+=("${worker[@]}" -C relocation-model=pie -C linker-flavor=gcc)
    linker=(--config "target.$target.linker=\"$PWD/scripts/dist_static_pie.sh\"")
    ;;
esac
if [ "$target" != "$(uname -m)-unknown-linux-gnu" ]; then
    strip=${target%%-*}-linux-gnu-strip
fi

cargo build --locked --profile dist-front --bin edgebench --target "$target" --target-dir "$folder" "${linker[@]}" \
    --config "$(list "${front[@]}" "${common[@]}")"
"${CARGO_ZIGBUILD:-cargo-zigbuild}" zigbuild --locked --profile dist --bin edgebench-worker --target "$target.$glibc" --target-dir "$folder" \
    --config "$(list "${worker[@]}" "${common[@]}")"
# Some cargos leave symbols in.
"$strip" "$folder/$target/dist-front/edgebench" "$folder/$target/dist/edgebench-worker"
