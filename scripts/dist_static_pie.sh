#!/usr/bin/env bash
# The linker of the static front for aarch64: the C compiler, told static-pie where Rust says plain static. scripts/dist_build.sh.
set -euo pipefail
arguments=(-static-pie)
for argument in "$@"; do
    case $argument in
    -static | -no-pie) ;;
    *) arguments+=("$argument") ;;
    esac
done
exec aarch64-linux-gnu-gcc "${arguments[@]}"
