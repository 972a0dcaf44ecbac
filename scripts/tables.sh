#!/usr/bin/env bash
# Writes benchmarks/results.csv and the marked tables of README.md and benchmarks/TECH_NOTE.md anew from the results in
# benchmarks/results/, as benchmarks/tables.json says. With --check it writes nothing and fails where they differ.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "${1-}" in
"") UPDATE_TABLES=1 cargo test --locked --quiet --test tables && git status --short README.md benchmarks ;;
--check) cargo test --locked --quiet --test tables ;;
*)
    echo "usage: scripts/tables.sh [--check]" >&2
    exit 2
    ;;
esac
