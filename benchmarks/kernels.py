#!/usr/bin/env python3
"""Where a decode step's time goes, kernel by kernel.

    CUDA_INJECTION64_PATH=$PWD/libkernel_trace.so KERNEL_TRACE=/tmp/trace edgebench --device cuda --model llama-1b -r 1 \
        --sample-interval off --ceiling none --tune off
    benchmarks/kernels.py /tmp/trace.*

reads the records that kernel_trace.c wrote (several files: each process has its own, and the one whose captured graph has the most
kinds of kernels is the trial's), cuts them into launches of the captured graph, and prints medians over the last 60 launches of the most
frequent length: from the first kernel to the end of the last (span), all kernels together (busy), from launch to launch (period),
and for each kernel how often it runs in a step and how long. Tracing itself slows a step down by 2 to 10 %.
"""

import argparse
import collections
import pathlib
import statistics

LAST = 60
# Kernels are warmed, chosen and captured in the first launches.
SETTLED = 40


def records(path):
    """The records of a file as (start, end, graph, node, grid, block, name), by start."""
    rows = []
    for line in path.read_text().splitlines():
        start, end, graph, node, grid, block, name = line.split("\t", 6)
        rows.append((int(start), int(end), int(graph), int(node), grid, block, name))
    return sorted(rows)


def launches(rows):
    """The records of captured graphs, cut where another graph or a node comes again."""
    found, seen, current = [], set(), []
    for row in (row for row in rows if row[2]):
        if row[3] in seen or (current and current[-1][2] != row[2]):
            found.append(current)
            current, seen = [], set()
        seen.add(row[3])
        current.append(row)
    return (found + [current])[SETTLED:]


def settled(path):
    """The last launches of the length that most have."""
    found = launches(records(path))
    if not found:
        return []
    length = collections.Counter(map(len, found)).most_common(1)[0][0]
    return [launch for launch in found if len(launch) == length][-LAST:]


def kernels(steps):
    """(microseconds a step, runs a step, grid, block, name) of each kernel, slowest first."""
    sums = collections.defaultdict(lambda: [0, 0])
    for step in steps:
        for start, end, _, _, grid, block, name in step:
            entry = sums[grid, block, name]
            entry[0] += end - start
            entry[1] += 1
    count = len(steps)
    rows = [(time / count / 1e3, runs / count, *key) for key, (time, runs) in sums.items()]
    return sorted(rows, reverse=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", nargs="+", type=pathlib.Path)
    parser.add_argument("--title", default="", help="printed in front")
    parser.add_argument("--rows", type=int, default=20, help="kernels to list (default: 20)")
    arguments = parser.parse_args()
    # The probe and the yardsticks capture chains of one tiny kernel: many launches, but a single kind.
    found = [settled(path) for path in arguments.trace]
    steps = max(found, key=lambda steps: len({row[6] for row in steps[0]}) if steps else 0)
    if not steps:
        parser.error("no captured graph in these files: was the trial run with CUDA graphs, and traced?")
    median = lambda values: statistics.median(values) / 1e3
    span = median([step[-1][1] - step[0][0] for step in steps])
    busy = median([sum(row[1] - row[0] for row in step) for step in steps])
    starts = [step[0][0] for step in steps]
    period = median([b - a for a, b in zip(starts, starts[1:])]) if len(starts) > 1 else float("nan")
    print(f"{arguments.title} {len(steps[0])} kernels a step, span {span:.1f} us, busy {busy:.1f} us, period {period:.1f} us".strip())
    for time, runs, grid, block, name in kernels(steps)[: arguments.rows]:
        print(f"{time:9.1f} us {runs:6.1f} x {time / runs:7.2f} us  grid {grid} block {block}  {name[:140]}")


if __name__ == "__main__":
    main()
