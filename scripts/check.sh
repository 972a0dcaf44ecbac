#!/usr/bin/env bash
# The whole check, by hand and in CI alike: format, lints, tests, pages in a browser, documentation. Prints the time of each step.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() {
    local began=$SECONDS
    echo "==> $*"
    "$@"
    echo "<== $((SECONDS - began)) s: $*"
}

step cargo fmt --check
step cargo clippy --all-targets --locked -- -D warnings
step cargo test --locked
# Opens pages made by the program that the tests have just built; needs Chromium, which root has installed with apt.
step python3 scripts/report_check.py
step scripts/gpu_check.sh --self-test
step env RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked --document-private-items
echo "check passed in $SECONDS s"
