#!/usr/bin/env bash
# Builds the released files into target/dist/ from a clean clone: a static program in front, and behind it a payload of the
# worker (the part of the same program that loads libraries, linked dynamically, for glibc 2.28 and newer), ONNX Runtime, and the
# licences of all. Prints their sizes, checks the limits.
#
#     scripts/dist.sh [--target x86_64-unknown-linux-gnu|aarch64-unknown-linux-gnu] [--only NAME[,NAME]...]
#
# NAME: cpu; cuda-86 (the CUDA provider with kernels for sm_86); driver-90 (the same for sm_90, with CUDA's libraries, so that
# only the driver is needed); any other architecture likewise. Default: cpu,cuda-86,cuda-90,driver-90 on x86_64, else cpu.
# Needs cargo, a C compiler, python3 with venv and pip, and a network. For aarch64 it also needs that Rust target (rustup) with
# aarch64-linux-gnu-gcc and its libc.a, or Debian's tools and root: scripts/dist_cross.sh then makes a folder that has them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
HOST="$(uname -m)-unknown-linux-gnu"
OUT=$ROOT/target/dist
GLIBC=2.28

die() {
    echo "dist.sh: $*" >&2
    exit 1
}

target=$HOST only=
while [ $# -gt 0 ]; do
    case $1 in
    --target) target=${2:?--target needs a Rust target} && shift 2 ;;
    --only) only=${2:?--only needs names} && shift 2 ;;
    *) die "unknown argument $1; see the head of scripts/dist.sh" ;;
    esac
done
arch=${target%%-*}
case $target in
x86_64-unknown-linux-gnu | aarch64-unknown-linux-gnu) ;;
*) die "no file is made for $target; name x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu" ;;
esac
if [ -z "$only" ]; then
    if [ "$arch" = x86_64 ]; then only=cpu,cuda-86,cuda-90,driver-90; else only=cpu; fi
fi
for name in ${only//,/ }; do
    [[ $name =~ ^(cpu|cuda-[0-9]+|driver-[0-9]+)$ ]] || die "unknown name $name; use cpu, cuda-ARCH or driver-ARCH, as in cuda-86"
    [[ $arch = x86_64 || $name != driver-* ]] || die "CUDA's libraries are pinned for x86_64 only; pack those of the board with \`edgebench bundle --with-cuda-libs\`"
done

# Flags from outside would reach only one of the two programs, or proc macros.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS
# Nothing is fetched for the build itself, and no path of this machine is compiled in: the runtime comes with the bundle.
export EDGEBENCH_ORT=none

# Puts the pinned linker in place, once for each set of pins.
tools() {
    local venv=$OUT/.tools
    if ! cmp -s scripts/dist-tools.txt "$venv/pins"; then
        rm -rf "$venv"
        python3 -m venv "$venv" || die "python3 has no venv module; install it (Debian: python3-venv)"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r scripts/dist-tools.txt
        cp scripts/dist-tools.txt "$venv/pins"
    fi
    CARGO_ZIGBUILD=$venv/bin/cargo-zigbuild
    CARGO_ZIGBUILD_ZIG_PATH=$(echo "$venv"/lib/python3*/site-packages/ziglang/zig)
    export CARGO_ZIGBUILD CARGO_ZIGBUILD_ZIG_PATH
}

# The wheel NAME of the pinned release, with the digest that build.rs pins for this target; its path on stdout.
runtime_wheel() {
    local name=$1 version sha256 file
    version=$(sed -n 's/^const VERSION: &str = "\(.*\)";$/\1/p' build.rs)
    sha256=$(awk -v name="\"$name\"," -v arch="\"$arch\"," '
        $1 == "project:" { project = $2 } $1 == "arch:" { machine = $2 }
        $1 == "sha256:" && project == name && machine == arch { gsub(/[",]/, "", $2); print $2 }' build.rs)
    [ -n "$sha256" ] || die "build.rs pins no $name for $arch"
    file=$(wheels "$name==$version --hash=sha256:$sha256")
    echo "$file"
}

# Has pip fetch wheels for the target into target/dist/.wheels; one requirement with its digest a line. Prints their paths.
wheels() {
    local folder pins=$OUT/.wheels/pins.txt
    folder=$OUT/.wheels/$(sha256sum <<<"$arch $1" | cut -c1-16)
    if [ ! -d "$folder" ]; then
        mkdir -p "$OUT/.wheels"
        rm -rf "$folder.part"
        echo "$1" >"$pins"
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
            --python-version 3.12 --implementation cp --abi cp312 --abi none --platform "manylinux_2_28_$arch" \
            --platform "manylinux_2_27_$arch" --platform "manylinux_2_34_$arch" --platform "manylinux2014_$arch" \
            --platform "manylinux1_$arch" -r "$pins" -d "$folder.part" >&2
        mv "$folder.part" "$folder"
    fi
    find "$folder" -name '*.whl' | sort
}

# Builds the static front and the worker for a target; sets FRONT and WORKER.
programs() {
    local triple=$1
    if [ "$triple" = "$HOST" ] || rustup target list --installed 2>/dev/null | grep -qx "$triple"; then
        scripts/dist_build.sh "$triple" "$GLIBC" "$OUT/.build/$triple"
    else
        scripts/dist_cross.sh "$triple" "$GLIBC" "$OUT/.build/$triple"
    fi
    FRONT=$OUT/.build/$triple/$triple/dist-front/edgebench
    WORKER=$OUT/.build/$triple/$triple/dist/edgebench-worker
}

# Packs one file; its path on stdout.
pack() {
    local name=$1 number=${1##*-} file wheel
    local -a arguments=(--front "$FRONT" --worker "$WORKER" --notice "$OUT/.build/rust-crates.txt")
    case $name in
    cpu)
        file=$OUT/edgebench-$arch-cpu
        wheel=$(runtime_wheel onnxruntime)
        ;;
    cuda-*)
        file=$OUT/edgebench-$arch-cuda-sm_$number
        wheel=$(runtime_wheel onnxruntime-gpu)
        arguments+=(--cuda-arch "$number")
        ;;
    driver-*)
        file=$OUT/edgebench-$arch-driver-only-sm_$number
        wheel=$(runtime_wheel onnxruntime-gpu)
        arguments+=(--cuda-arch "$number")
        local library
        while read -r library; do
            arguments+=(--with-cuda-libs "$library")
        done < <(wheels "$(cat scripts/dist-cuda.txt)")
        ;;
    esac
    "$PACKER" bundle -o "$file" --ort "$wheel" "${arguments[@]}" >&2
    echo "$file"
}

# The most bytes that a file may have; nothing where no limit is set.
limit() {
    case $1 in
    cpu) echo 25000000 ;;
    cuda-86) echo 55000000 ;;
    cuda-90) echo $((64 << 20)) ;;
    driver-*) echo 250000000 ;;
    esac
}

mkdir -p "$OUT"
tools
programs "$target"
PACKER=$FRONT
if [ "$target" != "$HOST" ]; then
    # A front of this machine packs for the other.
    front=$FRONT worker=$WORKER
    programs "$HOST"
    PACKER=$FRONT FRONT=$front WORKER=$worker
fi
python3 scripts/crate_notices.py "$target" "$OUT/.build/rust-crates.txt"
"$PACKER" --version >/dev/null || die "the static program does not start; is the C library's libc.a older than glibc 2.36?"
rows=() over=0
for name in ${only//,/ }; do
    file=$(pack "$name")
    bytes=$(stat -c %s "$file")
    most=$(limit "$name")
    verdict=
    if [ -n "$most" ] && [ "$bytes" -gt "$most" ]; then
        verdict="OVER by $((bytes - most))"
        over=1
    fi
    rows+=("$(printf '%-40s %12d %12s  %s' "$(basename "$file")" "$bytes" "${most:--}" "$verdict")")
done
printf '%-40s %12s %12s\n' file bytes limit
printf '%s\n' "${rows[@]}"
printf 'front %d bytes, worker %d bytes before compression; %s\n' "$(stat -c %s "$FRONT")" "$(stat -c %s "$WORKER")" "$target"
exit $over
