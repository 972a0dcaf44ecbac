"""What the comparisons in this folder share: edgebench's side of a round, how busy the machine was, and the spread of ratios."""

import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent / "models"
PACKAGES = {"onnx_ir": "onnx-ir", "onnxruntime_genai": "onnxruntime-genai (or onnxruntime-genai-cuda)"}

# A round in which other programs had more of the machine than this is told apart.
DISTURBED = 0.05


def need(*names):
    """Imports modules, or ends with the name of the one that is missing."""
    for name in names:
        try:
            __import__(name)
        except ImportError as error:
            sys.exit(f"could not load the Python module {name}: {error}; do: pip install {PACKAGES.get(name, name)}")


def spec(name):
    """The dimensions of a built-in model."""
    path = MODELS / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in MODELS.glob("*.json")))
        sys.exit(f"--model {name}: {path} is not there; known are {known}")
    return json.loads(path.read_text())


def write_prompt(model, length, scratch):
    """A prompt that every side can be given: ids spread over the vocabulary, as words of a tokenizer that knows nothing else."""
    ids = [2 + at * 7919 % (model["vocab"] - 2) for at in range(length)]
    words = {f"w{number}": number for number in sorted(set(ids))}
    words["[UNK]"] = 0
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                 "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
                 "model": {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}}
    Path(scratch, "tokenizer.json").write_text(json.dumps(tokenizer))
    Path(scratch, "prompt.txt").write_text(" ".join(f"w{number}" for number in ids) + "\n")
    return ids


def add_arguments(parser, repetitions, rounds):
    """The options that every comparison has."""
    parser.add_argument("--edgebench", metavar="PATH", help="the edgebench binary")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    parser.add_argument("--model", default="dense-120m", help="a built-in model (default: %(default)s)")
    parser.add_argument("-p", "--prompt", type=int, default=256, help="prompt tokens (default: %(default)s)")
    parser.add_argument("-n", "--decode", type=int, default=128, help="generated tokens (default: %(default)s)")
    parser.add_argument("-r", "--repetitions", type=int, default=repetitions, help="timed repetitions per round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=rounds, help="alternations (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="threads on the CPU, of all sides (default: what each takes by itself)")
    parser.add_argument("--ort", metavar="DIR", help="folder of the ONNX Runtime to use (default: edgebench's own)")
    parser.add_argument("--cuda-dir", metavar="DIR", action="append", default=[], help="folder of CUDA libraries; may be repeated")
    parser.add_argument("--edgebench-args", metavar="ARGS", default="", help="further options of edgebench, in one string")
    parser.add_argument("--settle", metavar="S", type=float, default=0,
                        help="before each round wait for an idle machine, at most so many seconds (default: do not wait)")


def check_arguments(parser, args):
    """Refuses what could not be measured."""
    if args.decode < 2:
        parser.error("-n must be at least 2: the first token is in no inter-token latency")
    if min(args.rounds, args.repetitions, args.prompt) < 1:
        parser.error("--rounds, --repetitions and --prompt must be at least 1")


def run_edgebench(args, precision, scratch):
    """One process of edgebench on the prompt in `scratch`: rates, times, first ids, and the report's facts."""
    result = f"{scratch}/result.json"
    command = [args.edgebench, "--device", args.device]
    if getattr(args, "folder", None):
        command += ["--model", args.folder]
    else:
        command += ["--model", args.model, "--form", "fused", "--precision", precision]
    command += ["-p", str(args.prompt), "-n", str(args.decode), "-r", str(args.repetitions), "--warmup", "1", "--ceiling", "none"]
    command += ["--tokenizer", f"{scratch}/tokenizer.json", "--prompt-file", f"{scratch}/prompt.txt"]
    command += ["--threads", str(args.threads)] if args.threads else []
    command += ["--context", str(args.kv_length)] if getattr(args, "kv_length", None) else []
    command += ["--ort", args.ort] if args.ort else []
    for folder in args.cuda_dir:
        command += ["--cuda-dir", folder]
    command += ["--format", "json", "-o", result, "-q", *shlex.split(args.edgebench_args)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: exit code {done.returncode}")
    report = json.loads(Path(result).read_text())
    trial = report["trials"][0]
    if trial["status"] != "ok":
        sys.exit(f"{shlex.join(command)}: {trial['status']}: {trial.get('reason')}")
    return {"tok_s": 1e3 / trial["itl_ms"]["median"], "mean": trial["decode_tok_s"]["median"],
            "ttft_s": trial["ttft_ms"]["median"] / 1e3, "first_ids": trial["first_ids"],
            "threads": trial["n_threads"], "parameters": trial["params"]["total"], "tuning": "+".join((trial["tuning"] or {}).get("kept", [])) or "none",
            "environment": report["environment"], "tool": report["tool"]}


def run_other(script, task, environment=None):
    """The other side, `script --drive -`, in a process of its own: its task goes in as JSON, its last line comes back."""
    command = [sys.executable, script, "--drive", "-"]
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, env=environment)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        sys.exit(f"{Path(script).name} --drive ended with exit code {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return json.loads(lines[-1])


def machine(ours):
    """Two lines on what edgebench ran on, from its report."""
    environment, tool = ours["environment"], ours["tool"]
    gpu = f"{environment['gpu_info']}, driver {environment['gpu']['driver_version']}; " if environment["gpu"] else ""
    return (f"machine: {gpu}{environment['cpu_info']}, {environment['cpu_cores']} cores, {environment['os']}\n"
            f"edgebench {tool['version']} ({tool['commit']}) with ONNX Runtime {environment['runtime_version']}")


def spread(values):
    """Least, median and greatest."""
    return f"min {min(values):.3f}, median {statistics.median(values):.3f}, max {max(values):.3f}"


def agreement(ours, theirs):
    """How many ids are the same before the first that differs."""
    pairs = list(zip(ours, theirs))
    return next((at for at, (left, right) in enumerate(pairs) if left != right), len(pairs))


class Load:
    """How much of the machine's processors other programs had since this was made; None where the system does not tell."""

    def __init__(self):
        self.began, self.busy, self.own = time.monotonic(), busy_seconds(), own_seconds()

    def others(self):
        busy = busy_seconds()
        if busy is None or self.busy is None:
            return None
        span = (time.monotonic() - self.began) * (os.cpu_count() or 1)
        return max(0.0, busy - self.busy - (own_seconds() - self.own)) / span


def busy_seconds():
    """Processor seconds that were not idle since the system started."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
    ticks = [int(field) for field in fields[:8]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def own_seconds():
    """Processor seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def settle(seconds):
    """Waits until the machine was idle for two seconds, at most so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        load = Load()
        time.sleep(2)
        others = load.others()
        if others is None or others < DISTURBED:
            return


class Ratios:
    """Ratios of all rounds, and of those in which nothing else ran."""

    def __init__(self):
        self.rounds = []

    def add(self, others, **ratios):
        self.rounds.append((others, ratios))

    def lines(self, titles):
        """A line for each key of `titles`, and, where some rounds were disturbed, one for those that were not."""
        quiet = [ratios for others, ratios in self.rounds if others is None or others < DISTURBED]
        for key, title in titles.items():
            yield f"{title + ':':34}{spread([ratios[key] for _, ratios in self.rounds])}"
            if quiet and len(quiet) < len(self.rounds):
                yield f"  in the {len(quiet)} undisturbed rounds:".ljust(34) + spread([ratios[key] for ratios in quiet])


def share(others):
    """Other programs' share of the machine, for a table."""
    return "    -" if others is None else f"{others:5.1%}"
