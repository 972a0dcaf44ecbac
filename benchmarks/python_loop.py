#!/usr/bin/env python3
"""Is edgebench's decode loop as fast as the same graph driven from Python?

Runs the same exported model in turn through edgebench and through onnxruntime's Python API, and prints both decode rates,
their ratio, and the share of a token that edgebench spends outside the runtime's run call. The Python loop is a good one:
inputs, outputs and the KV cache are bound once, in place, and nothing is allocated per token.

    pip install numpy onnxruntime
    python benchmarks/python_loop.py --edgebench target/release/edgebench --model dense-120m

Without --edgebench, --graph DIR runs the Python half alone on a model exported before (fused form).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The official packages of ONNX Runtime 1.31 collect telemetry unless told not to, before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy
import onnxruntime

TYPES = {
    "tensor(float)": numpy.float32,
    "tensor(float16)": numpy.float16,
    "tensor(int32)": numpy.int32,
    "tensor(int64)": numpy.int64,
}


class Loop:
    """A decoder of the fused form with everything bound in advance. OrtValues on the CPU share memory with their arrays."""

    def __init__(self, folder, prompt, decode, threads, config=()):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        for key, value in config:
            options.add_session_config_entry(key, value)
        path = str(Path(folder) / "model.onnx")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.decode_tokens = decode
        self.values = []
        inputs = {value.name: value for value in self.session.get_inputs()}
        if "seqlens_k" not in inputs:
            sys.exit(f"{path}: not the fused form, whose cache is updated in place")
        caches = [value for value in inputs.values() if value.name.startswith("past_")]
        context = caches[0].shape[2 if len(caches[0].shape) == 4 else 1]
        if prompt + decode > context:
            sys.exit(f"{path}: {prompt} + {decode} tokens do not fit its context of {context}")
        arrays = {}
        for value in caches:
            shape = [size if isinstance(size, int) else 1 for size in value.shape]
            arrays[value.name] = numpy.zeros(shape, TYPES[value.type])
        outputs = {value.name: value for value in self.session.get_outputs()}
        vocabulary = outputs["logits"].shape[2]
        arrays["logits"] = numpy.zeros((1, 1, vocabulary), TYPES[outputs["logits"].type])
        arrays["next_ids"] = numpy.zeros((1, 1), numpy.int64)
        arrays["seqlens_k"] = numpy.zeros(1, numpy.int32)
        arrays["total_sequence_length"] = numpy.zeros(1, numpy.int32)
        self.arrays = arrays
        self.ids = (numpy.arange(prompt, dtype=numpy.int64) * 7919 % (vocabulary - 2) + 2).reshape(1, prompt)
        held = {name: self.hold(array) for name, array in arrays.items()}
        self.prefill = self.bind(inputs, outputs, held, self.ids)
        self.token = numpy.zeros((1, 1), numpy.int64)
        self.position = numpy.zeros((1, 1), numpy.int32)
        self.decode = self.bind(inputs, outputs, held, self.token, self.position)

    def hold(self, array):
        value = onnxruntime.OrtValue.ortvalue_from_numpy(array)
        self.values.append((value, array))
        return value

    def bind(self, inputs, outputs, held, ids, positions=None):
        binding = self.session.io_binding()
        if positions is None:
            positions = numpy.arange(ids.shape[1], dtype=numpy.int32).reshape(1, -1)
        own = {"input_ids": self.hold(ids), "position_ids": self.hold(positions)}
        for name in inputs:
            binding.bind_ortvalue_input(name, own.get(name) or held[name])
        for name in outputs:
            source = name.replace("present.", "past_key_values.").replace("present_", "past_")
            binding.bind_ortvalue_output(name, held[source])
        return binding

    def generate(self):
        """One prompt and its continuation: seconds to the first token, seconds for the tokens after it, ids."""
        arrays, run = self.arrays, self.session.run_with_iobinding
        seqlens, total, chosen = arrays["seqlens_k"], arrays["total_sequence_length"], arrays["next_ids"]
        token, position, decode = self.token, self.position, self.decode
        length = self.ids.shape[1]
        began = time.perf_counter()
        seqlens[0], total[0] = length - 1, length
        run(self.prefill)
        first = time.perf_counter()
        ids = [int(chosen[0, 0])]
        token[0, 0] = chosen[0, 0]
        for at in range(length, length + self.decode_tokens - 1):
            position[0, 0], seqlens[0], total[0] = at, at, at + 1
            run(decode)
            token[0, 0] = chosen[0, 0]
            ids.append(int(chosen[0, 0]))
        return first - began, time.perf_counter() - first, ids

    def rate(self, repetitions):
        """Median decode tokens per second, the first token excluded, after a warm-up."""
        self.generate()
        return statistics.median((self.decode_tokens - 1) / self.generate()[1] for _ in range(repetitions))


def run_edgebench(binary, args, result):
    """edgebench's own run of the same model: median decode tokens per second and share outside the run call."""
    command = [binary, "--model", args.model, "--form", "fused", "--precision", "fp32", "--device", "cpu"]
    command += ["-p", str(args.prompt), "-n", str(args.decode), "-r", str(args.repetitions)]
    command += ["--threads", str(args.threads), "--format", "json", "-o", str(result), "-q"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}")
    trial = json.loads(Path(result).read_text())["trials"][0]
    if trial["status"] != "ok":
        sys.exit(f"{' '.join(command)}: {trial['status']}: {trial.get('reason')}")
    return trial["decode_tok_s"]["median"], trial["outside_run_share"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edgebench", metavar="PATH", help="the edgebench binary")
    parser.add_argument("--model", default="dense-120m", help="a built-in model (default: %(default)s)")
    parser.add_argument("--graph", metavar="DIR", help="use this exported model instead of exporting one")
    parser.add_argument("-p", "--prompt", type=int, default=256, help="prompt tokens (default: %(default)s)")
    parser.add_argument("-n", "--decode", type=int, default=128, help="generated tokens (default: %(default)s)")
    parser.add_argument("-r", "--repetitions", type=int, default=3, help="timed repetitions per round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="alternations of the two (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the runtime (default: %(default)s)")
    args = parser.parse_args()
    if not (args.edgebench or args.graph):
        parser.error("--edgebench or --graph is needed")
    if args.decode < 2:
        parser.error("-n must be at least 2: the first token is not timed")

    with tempfile.TemporaryDirectory() as scratch:
        folder = args.graph
        if folder is None:
            folder = f"{scratch}/model"
            export = [args.edgebench, "export", args.model, "--form", "fused", "--precision", "fp32", "-o", folder]
            subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
        print(f"onnxruntime {onnxruntime.__version__} from Python, {args.threads} threads, prompt {args.prompt}, decode {args.decode}")
        print("round  edgebench tok/s  python tok/s   ratio  outside run call")
        ours, theirs, shares = [], [], []
        for number in range(1, args.rounds + 1):
            line = f"{number:>5}"
            if args.edgebench:
                rate, share = run_edgebench(args.edgebench, args, f"{scratch}/result-{number}.json")
                ours.append(rate)
                shares.append(share)
            # A session of its own each round, so that neither side keeps threads or caches while the other runs.
            loop = Loop(folder, args.prompt, args.decode, args.threads)
            theirs.append(loop.rate(args.repetitions))
            del loop
            line += f"  {ours[-1]:15.2f}" if ours else f"  {'-':>15}"
            line += f"  {theirs[-1]:12.2f}"
            line += f"  {ours[-1] / theirs[-1]:6.3f}  {shares[-1]:16.3%}" if ours else f"  {'-':>6}  {'-':>16}"
            print(line, flush=True)
        python = statistics.median(theirs)
        if ours:
            edgebench = statistics.median(ours)
            print(f"median {edgebench:15.2f}  {python:12.2f}  {edgebench / python:6.3f}  {statistics.median(shares):16.3%}")
        else:
            print(f"median {'-':>15}  {python:12.2f}")


if __name__ == "__main__":
    main()
