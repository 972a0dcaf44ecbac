#!/usr/bin/env python3
"""Whether budgets hold on a GPU, whether the memory adds up, how far predictions are off, and what sampling costs.

    memory_check.py FILE OUT_FOLDER [STEP...]

FILE is an edgebench file with the CUDA provider (or a folder's build with EDGEBENCH_ARGS="--ort ..."). Steps, all by default:
matrix (one command: models x budgets with their ceilings), tight (budgets below the need, run all the same), quantised, sampler.
Each step writes its results into OUT_FOLDER; at the end `memory.txt` says what they show, and the exit code is 1 where a promise is
broken: an `ok` row above its budget, a refusal that is not clean, memory that does not add up, a prediction that is more than
5 % off at the default lengths, or sampling that costs 1 % of decode speed. Needs python3; about 8 minutes on an H100.
"""

import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys

MIB = 1 << 20
MORE = shlex.split(os.environ.get("EDGEBENCH_ARGS", ""))
CLEAN = ("ok", "does_not_fit", "out_of_memory")
PAIRS = 8


def edgebench(file, path, *args):
    """Runs it; the result, whatever the trials came to."""
    command = [file, "--device", "cuda", *MORE, *args, "--quiet", "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    path.with_suffix(".txt").write_text(done.stdout)
    if done.returncode not in (0, 6):
        sys.exit(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr.strip()[-600:]}")


def matrix(file, out):
    edgebench(file, out / "matrix.json", "--suite", "core", "--precision", "fp16", "--vram-budget", "1G,4G,8G", "-r", "2")


def tight(file, out):
    models = "dense-120m,moe-295m-a120m,dense-350m,qwen3-0.6b"
    edgebench(file, out / "tight.json", "--model", models, "--precision", "fp16", "--vram-budget", "500M,600M,900M", "--try-all",
              "--ceiling", "none", "-r", "1")


def quantised(file, out):
    models = "qwen3-0.6b,llama-1b,granite-1b-a400m"
    edgebench(file, out / "quantised.json", "--model", models, "--precision", "int8,int4", "--vram-budget", "1G,2G",
              "--ceiling", "none", "-r", "3")


def sampler(file, out):
    """On and off in turn, so that whatever else changes hits both."""
    for turn in range(PAIRS):
        for pause in ("10ms", "off") if turn % 2 else ("off", "10ms"):
            edgebench(file, out / f"sampler-{pause}-{turn}.json", "--model", "dense-120m", "--precision", "fp16", "--vram-budget",
                      "4G", "--enforce", "soft", "--ceiling", "none", "-r", "20", "--sample-interval", pause)


def rows(out, name):
    path = out / f"{name}.json"
    return json.loads(path.read_text())["trials"] if path.exists() else []


def mib(value, digits=0):
    return "-" if value is None else f"{value / MIB:.{digits}f}"


def table(lines, head, body):
    widths = [max(len(str(cell)) for cell in column) for column in zip(head, *body)]
    for row in [head, *body]:
        cells = [str(cell).ljust(width) if at == 0 else str(cell).rjust(width) for at, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    lines.append("")


def budgets(lines, broken, all_rows):
    """Each cell, by the driver's word."""
    body = []
    for row in all_rows:
        memory, name = row["memory"], f"{row['model']} {row['precision']}"
        budget, peak = memory["budget_bytes"], memory["peak_bytes"]
        body.append([name, mib(budget), row["status"], row["failed_phase"] or "-", mib(row["failed_bytes"], 1), mib(peak),
                     mib(memory["free_memory_drop_bytes"]), memory["enforced"] or "-", mib(memory["left_free_bytes"])])
        if row["status"] not in CLEAN or (row["status"] != "ok" and not row["reason"]):
            broken.append(f"{row['id']}: {row['status']}: {row['reason']}")
        if row["status"] == "ok" and (peak is None or peak > budget):
            broken.append(f"{row['id']}: ok at {mib(peak)} MiB in a budget of {mib(budget)} MiB")
    lines.append(f"Budgets: {len(body)} cells. MiB; peak: NVML's figure for the process; drop: fall of the GPU's free memory.")
    table(lines, ["model", "budget", "status", "phase", "refused", "peak", "drop", "held", "left free"], body)


def breakdown(lines, broken, ran):
    """The parts of each model's memory in the largest budget it ran in."""
    body = []
    for row in ran:
        memory, name = row["memory"], f"{row['model']} {row['precision']}"
        rest, peak = memory["unaccounted_bytes"], memory["loaded_peak_bytes"]
        body.append([name, *(mib(memory[key]) for key in ("weights_bytes", "kv_bytes", "activations_bytes", "runtime_context_bytes",
                                                          "runtime_libraries_bytes")), mib(rest, 1), mib(peak),
                     mib(memory["steady_bytes"]), mib(memory["peak_bytes"]), mib(memory["arena_live_peak_bytes"], 1),
                     mib(memory["arena_reserved_bytes"], 1)])
        if rest is None or abs(rest) > max(0.03 * peak, 32 * MIB):
            broken.append(f"{row['id']}: {mib(rest, 1)} MiB of {mib(peak)} unaccounted for")
    lines.append("Breakdown, MiB: weights + KV + activations + context + libraries + unaccounted = loaded; peak counts the making of the context.")
    table(lines, ["model", "weights", "KV", "activ.", "context", "libr.", "unacc.", "loaded", "steady", "peak", "live", "reserved"], body)


def predictions(lines, broken, ran):
    body = []
    for row in ran:
        memory = row["memory"]
        predicted, loaded = memory["predicted_peak_bytes"], memory["loaded_peak_bytes"]
        error = predicted / loaded - 1
        body.append([f"{row['model']} {row['precision']}", mib(predicted), mib(loaded), f"{100 * error:+.1f} %"])
        if abs(error) > 0.05:
            broken.append(f"{row['id']}: predicted {mib(predicted)} MiB, measured {mib(loaded)}")
    lines.append("Prediction against the measured peak from the load on, MiB, at 256 prompt and 128 generated tokens.")
    table(lines, ["model", "predicted", "measured", "error"], body)


def ceilings(lines, broken, out):
    path = out / "matrix.json"
    found = json.loads(path.read_text()).get("ceilings", []) if path.exists() else []
    body = []
    for one in found:
        name, sizes = f"{one['model']} {one['precision']} {one['kind']} in {mib(one['budget_bytes'])} MiB", one["trials"]
        body.append([f"{one['model']} {one['precision']}", mib(one["budget_bytes"]), one["kind"], one["fits"] or "-", one["fails"] or "-",
                     one["limited_by"] or one["status"], mib(one["peak_bytes"]), len(sizes)])
        if one["fits"] and one["fails"] and one["fits"] >= one["fails"]:
            broken.append(f"{name}: fits {one['fits']}, fails {one['fails']}")
        if (one["peak_bytes"] or 0) > one["budget_bytes"]:
            broken.append(f"{name}: {mib(one['peak_bytes'])} MiB at the ceiling")
        if len(sizes) > 8:
            broken.append(f"{name}: {len(sizes)} trials")
        failed = None
        for trial in sizes:
            if failed is not None and trial["size"] is not None and trial["size"] >= failed:
                broken.append(f"{name}: {trial['size']} was tried after {failed} had failed")
            if trial["status"] == "out_of_memory":
                failed = min(trial["size"], failed or trial["size"])
    lines.append("Ceilings: the largest size that ran and the smallest that did not; MiB at the ceiling; trials.")
    table(lines, ["model", "budget", "kind", "fits", "fails", "limited by", "peak", "trials"], body)


def sampling(lines, broken, out):
    ratios = {"decode_tok_s": [], "ttft_ms": []}
    for turn in range(PAIRS):
        pair = [rows(out, f"sampler-{pause}-{turn}") for pause in ("10ms", "off")]
        if not all(pair) or any(one[0]["status"] != "ok" for one in pair):
            continue
        for key, values in ratios.items():
            values.append(pair[0][0][key]["median"] / pair[1][0][key]["median"])
    decode = ratios["decode_tok_s"]
    if len(decode) < 2:
        return
    mean, error = statistics.mean(decode), statistics.stdev(decode) / len(decode) ** 0.5
    lines.append(f"Sampling every 10 ms against none in between, dense-120m fp16, {len(decode)} pairs in turn, 20 repetitions each: decode speed "
                 f"{mean:.4f} ± {error:.4f} (mean and its standard error; {', '.join(f'{ratio:.4f}' for ratio in decode)}), "
                 f"TTFT {statistics.mean(ratios['ttft_ms']):.3f} ± {statistics.stdev(ratios['ttft_ms']) / len(decode) ** 0.5:.3f}.")
    lines.append("")
    if mean < 0.99:
        broken.append(f"sampling changes decode speed to {mean:.4f} of what it is without")


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    file, out, wanted = str(pathlib.Path(sys.argv[1]).absolute()), pathlib.Path(sys.argv[2]), sys.argv[3:]
    out.mkdir(parents=True, exist_ok=True)
    steps = {step.__name__: step for step in (matrix, tight, quantised, sampler)}
    for name in wanted or steps:
        if name != "report":
            steps[name](file, out)
    lines, broken = [], []
    everything = [row for name in ("matrix", "tight", "quantised") for row in rows(out, name)]
    largest = {}
    for row in sorted((row for row in everything if row["status"] == "ok"), key=lambda row: row["memory"]["budget_bytes"]):
        largest[(row["model"], row["precision"])] = row
    ran = list(largest.values())
    first = next((json.loads((out / f"{name}.json").read_text()) for name in ("matrix", "tight", "quantised") if rows(out, name)), None)
    if first:
        gpu, environment = first["environment"]["gpu"], first["environment"]
        lines += [f"{gpu['name']}, driver {gpu['driver_version']}, CUDA {gpu['cuda_version']}, ONNX Runtime "
                  f"{environment['runtime_version']}, edgebench {first['tool']['version']} {first['tool']['commit'] or ''}".rstrip(), ""]
    budgets(lines, broken, everything)
    breakdown(lines, broken, ran)
    predictions(lines, broken, ran)
    ceilings(lines, broken, out)
    sampling(lines, broken, out)
    lines.append("Broken promises: " + ("none." if not broken else "\n" + "\n".join(broken)))
    text = "\n".join(lines) + "\n"
    (out / "memory.txt").write_text(text)
    print(text)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
