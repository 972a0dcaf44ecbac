#!/usr/bin/env bash
# Builds the two programs for another machine where rustup has no such target, with Debian's compilers in a folder of their own.
# scripts/dist.sh calls it.
#
#     scripts/dist_cross.sh TARGET GLIBC FOLDER
#
# Makes target/dist/.root with debootstrap once, from the mirror that this machine's apt uses (or DIST_MIRROR), and builds in it.
# Needs root. All mounts live in a mount namespace of this script's own and are gone with its last process, however it ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$1 glibc=$2 folder=$3
root=$PWD/target/dist/.root
suite=trixie

die() {
    echo "dist_cross.sh: $*" >&2
    exit 1
}

if [ "${DIST_CROSS_INSIDE:-}" != 1 ]; then
    [ "$target" = aarch64-unknown-linux-gnu ] || die "only aarch64-unknown-linux-gnu is built this way"
    [ "$(id -u)" = 0 ] || die "Debian's folder needs root; run it as root, or install the Rust target $target and aarch64-linux-gnu-gcc"
    command -v debootstrap >/dev/null || die "there is no debootstrap; install it (Debian: apt-get install debootstrap)"
    exec env DIST_CROSS_INSIDE=1 unshare --mount --propagation private -- "$0" "$@"
fi

# Debian's root with a Rust that has the target's standard library, and the target's C compiler and static libc.
make_root() {
    local mirror=${DIST_MIRROR:-}
    if [ -z "$mirror" ] && command -v apt-get >/dev/null; then
        mirror=$(apt-get indextargets --format '$(SITE)' "Codename: $(. /etc/os-release && echo "${VERSION_CODENAME:-}")" 'Component: main' | head -n 1)
    fi
    [ -n "$mirror" ] || die "apt names no mirror of Debian; set DIST_MIRROR to one"
    rm -rf "$root" "$root.part"
    debootstrap --variant=minbase "$suite" "$root.part" "$mirror" >&2
    # The machine's own rules for reaching a mirror hold in there too: a proxy, a mirror whose lists are old.
    apt-config dump 2>/dev/null | grep -E '^Acquire::(Check|Retries|https?::)' >"$root.part/etc/apt/apt.conf.d/99host" || true
    # The suite's own Rust is too old for edgebench.
    echo "deb $mirror $suite-backports main" >"$root.part/etc/apt/sources.list.d/backports.list"
    chroot "$root.part" dpkg --add-architecture arm64
    mount -t proc proc "$root.part/proc"
    chroot "$root.part" apt-get update -qq >&2
    chroot "$root.part" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -t "$suite-backports" rustc cargo libstd-rust-dev:arm64 >&2
    chroot "$root.part" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        gcc libc6-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross git >&2
    chroot "$root.part" apt-get clean
    umount "$root.part/proc"
    mv "$root.part" "$root"
}

[ -d "$root" ] || make_root

# The sources of all crates, for a build that is offline: the root has no use for the network.
vendor=$folder/vendor
CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} cargo vendor --quiet --locked --versioned-dirs "$vendor" >/dev/null

# The same paths inside as outside; git may keep its folder elsewhere (a worktree).
share() {
    mkdir -p "$root$1"
    mount --bind "$1" "$root$1"
}
mount -t proc proc "$root/proc"
share "$PWD"
git_folder=$(git rev-parse --path-format=absolute --git-common-dir 2>/dev/null || true)
case $git_folder in '' | "$PWD"/*) ;; *) share "$git_folder" ;; esac

mkdir -p "$folder/home"
cat >"$folder/home/config.toml" <<END
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "$vendor"
END
exec chroot "$root" env -i PATH=/usr/bin:/bin HOME="$folder/home" CARGO_HOME="$folder/home" \
    EDGEBENCH_ORT="$EDGEBENCH_ORT" CARGO_ZIGBUILD="$CARGO_ZIGBUILD" CARGO_ZIGBUILD_ZIG_PATH="$CARGO_ZIGBUILD_ZIG_PATH" \
    CARGO_NET_OFFLINE=true GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' \
    DIST_VENDOR="$vendor" "$PWD/scripts/dist_build.sh" "$target" "$glibc" "$folder"
