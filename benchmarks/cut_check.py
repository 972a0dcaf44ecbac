#!/usr/bin/env python3
"""Whether a CUDA provider that was cut to this GPU's architecture behaves as the whole one does.

    cut_check.py EDGEBENCH WHOLE CUT [-o FILE] [--rounds 5]

WHOLE and CUT are folders of the same ONNX Runtime: `libonnxruntime.so*`, the providers, and (for the int4 graphs, which
edgebench does not make yet) the `onnxruntime` Python package in a subfolder `python`. Two comparisons:

- edgebench's own graphs, dense and MoE, plain and fused, through `--ort`: placement, greedy ids, error against the reference
  and decode speed, the two in turn;
- small graphs of MatMulNBits (int4 and int8, both kernel paths), QMoE (int4 and int8) and MoE (fp16) at one and at 256 tokens,
  through Python: placement, output bits, the runtime's log lines, speed.

Prints a table and writes every figure as JSON. Exits with 1 when anything but speed differs. Needs an NVIDIA GPU, numpy and onnx.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time


# The MoE operator times several kernels when it is first run and takes the fastest, so its last bits differ from run to run with
# one and the same provider; with this it takes a fixed one, and what is left is the provider's.
STEADY = {"ORT_FORCE_DETERMINISTIC_MOE": "1"}


def edgebench(program, runtime, out, cache, *args):
    command = [program, "--device", "cuda", "--ort", runtime, "--quiet", "-o", out, *args]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **STEADY, "XDG_CACHE_HOME": cache})
    if not os.path.exists(out):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-800:]}")
    return json.load(open(out))["trials"]


def own_graphs(arguments, scratch):
    """Rows of edgebench's trials, the two providers in turn."""
    facts, speed = {}, {}
    for turn in range(arguments.rounds):
        for name, folder in (("whole", arguments.whole), ("cut", arguments.cut)):
            runs = [("--suite", "quick", "-r", "2")]
            if turn == 0:
                runs.append(("--suite", "sanity", "--form", "plain,fused", "-r", "1"))
            for args in runs:
                for row in edgebench(arguments.edgebench, folder, f"{scratch}/{name}.json", f"{scratch}/cache", *args):
                    if row["status"] != "ok":
                        sys.exit(f"{name}: {row['id']}: {row['status']}: {row['reason']}")
                    fact = {"placement": row["placement"], "first_ids": row["first_ids"],
                            "worst_error": row["check"] and row["check"]["worst_error"]}
                    facts.setdefault(row["id"], {}).setdefault(name, []).append(fact)
                    if args[1] == "quick":
                        speed.setdefault(row["id"], {}).setdefault(name, []).append(row["decode_tok_s"]["median"])
    return facts, speed


def graphs():
    """(name, model bytes, feeds) of the graphs with low-bit weights and experts."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    hidden, inner, experts = 1024, 512, 32

    def model(nodes, initializers, inputs, width):
        graph = helper.make_graph(
            nodes, "g",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["tokens", size]) for name, size in inputs],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["tokens", width])],
            [numpy_helper.from_array(value, name) for name, value in initializers.items()])
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()

    def scales(*shape):
        return rng.uniform(0.5, 1.5, shape).astype(np.float16) / 256

    def feeds(tokens, inputs):
        return {name: rng.standard_normal((tokens, size)).astype(np.float16) for name, size in inputs}

    made = []
    for bits in (4, 8):
        inputs = [("x", hidden)]
        packed = rng.integers(0, 256, (hidden, hidden // 32, 32 * bits // 8), dtype=np.uint8)
        node = helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft",
                                K=hidden, N=hidden, bits=bits, block_size=32)
        # Scales as a flat list: the layout that every version of the operator takes.
        weights = {"w": packed, "s": scales(hidden * hidden // 32)}
        data = model([node], weights, inputs, hidden)
        for path, config in (("default", {}), ("fpA_intB", {"ep.cuda.fpa_intb_gemm": "1"})):
            for tokens in (1, 256):
                made.append((f"MatMulNBits int{bits} {path} m{tokens}", data, feeds(tokens, inputs), config))
        inputs = [("x", hidden), ("r", experts)]
        node = helper.make_node(
            "QMoE", ["x", "r", "w1", "s1", "", "w2", "s2"], ["y"], domain="com.microsoft", k=8, activation_type="swiglu",
            swiglu_fusion=1, activation_alpha=1.0, activation_beta=0.0, normalize_routing_weights=1,
            expert_weight_bits=bits, block_size=32, weights_prepacked=0)
        weights = {"w1": rng.integers(0, 256, (experts, 2 * inner, hidden * bits // 8), dtype=np.uint8),
                   "s1": scales(experts, 2 * inner, hidden // 32),
                   "w2": rng.integers(0, 256, (experts, hidden, inner * bits // 8), dtype=np.uint8),
                   "s2": scales(experts, hidden, inner // 32)}
        data = model([node], weights, inputs, hidden)
        made += [(f"QMoE int{bits} m{tokens}", data, feeds(tokens, inputs), {}) for tokens in (1, 256)]
    inputs = [("x", hidden), ("r", experts)]
    node = helper.make_node("MoE", ["x", "r", "w1", "", "w2"], ["y"], domain="com.microsoft", k=8, activation_type="swiglu",
                            swiglu_fusion=1, activation_alpha=1.0, activation_beta=0.0, normalize_routing_weights=1)
    weights = {"w1": (rng.standard_normal((experts, 2 * inner, hidden)) / 32).astype(np.float16),
               "w2": (rng.standard_normal((experts, hidden, inner)) / 24).astype(np.float16)}
    data = model([node], weights, inputs, hidden)
    made += [(f"MoE fp16 m{tokens}", data, feeds(tokens, inputs), {}) for tokens in (1, 256)]
    return made


def child(folder):
    """Runs every graph with one provider; facts on stdout, the runtime's log on stderr."""
    sys.path.insert(0, f"{folder}/python")
    import numpy as np
    import onnxruntime as runtime

    facts = {}
    for name, data, feeds, config in graphs():
        print(f"== {name}", file=sys.stderr, flush=True)
        options = runtime.SessionOptions()
        options.log_severity_level = 1
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        for key, value in config.items():
            options.add_session_config_entry(key, value)
        try:
            session = runtime.InferenceSession(data, options, providers=["CUDAExecutionProvider"])
            placed = sorted([group.ep_name, [node.op_type for node in group.get_nodes()]]
                            for group in session.get_provider_graph_assignment_info())
            bound = session.io_binding()
            for key, value in feeds.items():
                bound.bind_ortvalue_input(key, runtime.OrtValue.ortvalue_from_numpy(value, "cuda", 0))
            bound.bind_output("y", "cuda")
            for _ in range(20):
                session.run_with_iobinding(bound)
            times = []
            for _ in range(50):
                began = time.perf_counter()
                session.run_with_iobinding(bound)
                bound.synchronize_outputs()
                times.append(1e6 * (time.perf_counter() - began))
            result = bound.copy_outputs_to_cpu()[0]
            facts[name] = {"placement": placed, "sha256": hashlib.sha256(result.tobytes()).hexdigest(),
                           "finite": bool(np.isfinite(result.astype(np.float32)).all()),
                           "norm": float(np.linalg.norm(result.astype(np.float64))), "us": statistics.median(times)}
        except Exception as error:  # What one provider refuses the other must refuse too.
            facts[name] = {"refused": str(error).splitlines()[0][:300]}
    json.dump(facts, sys.stdout)


def log_lines(stderr):
    """The log by graph, as sorted lines without times, addresses, thread numbers and measured figures."""
    lines, graph = {}, "start"
    for line in stderr.splitlines():
        if line.startswith("== "):
            graph = line[3:]
            continue
        line = re.sub(r"\x1b\[[0-9;]*m", "", line)
        line = re.sub(r"^[0-9-]+ [0-9:.]+ ", "", line)
        line = re.sub(r"0x[0-9a-f]+|\b\d+(\.\d+)?(e-?\d+)?\b", "N", line)
        lines.setdefault(graph, set()).add(line)
    return {graph: sorted(found) for graph, found in lines.items()}


def small_graphs(arguments):
    facts, speed, logs = {}, {}, {}
    for turn in range(arguments.rounds):
        for name, folder in (("whole", arguments.whole), ("cut", arguments.cut)):
            command = [sys.executable, __file__, "--child", folder]
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **STEADY})
            if done.returncode:
                sys.exit(f"{name}: {done.stderr[-1500:]}")
            for graph, fact in json.loads(done.stdout).items():
                if "us" in fact:
                    speed.setdefault(graph, {}).setdefault(name, []).append(fact.pop("us"))
                facts.setdefault(graph, {}).setdefault(name, []).append(fact)
            if turn == 0:
                logs[name] = log_lines(done.stderr)
    return facts, speed, logs


def main():
    if sys.argv[1:2] == ["--child"]:
        return child(sys.argv[2])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("edgebench")
    parser.add_argument("whole")
    parser.add_argument("cut")
    parser.add_argument("-o", "--output", default="cut-check.json")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        own, own_speed = own_graphs(arguments, scratch)
    small, small_speed, logs = small_graphs(arguments)
    differences = []
    unsteady = []
    for graph, fact in {**own, **small}.items():
        # Bits that move from run to run with one and the same provider tell nothing about the other.
        values = {name: {json.dumps(one, sort_keys=True) for one in runs} for name, runs in fact.items()}
        if any(len(seen) > 1 for seen in values.values()):
            unsteady.append(graph)
            norms = [one["norm"] for runs in fact.values() for one in runs if "norm" in one]
            if norms and max(norms) - min(norms) > 1e-3 * max(norms):
                differences.append(f"{graph}: norms {norms}")
            places = {json.dumps(one.get("placement")) for runs in fact.values() for one in runs}
            if len(places) > 1:
                differences.append(f"{graph}: placements {places}")
        elif values["whole"] != values["cut"]:
            differences.append(f"{graph}: {fact}")
    for graph in sorted(set(logs["whole"]) | set(logs["cut"])):
        if logs["whole"].get(graph) != logs["cut"].get(graph):
            only = {name: sorted(set(logs[name].get(graph, [])) - set(logs[other].get(graph, [])))
                    for name, other in (("whole", "cut"), ("cut", "whole"))}
            differences.append(f"log of {graph}: {only}")
    ratios = {}
    for graph, times in {**own_speed, **small_speed}.items():
        pairs = [cut / whole for whole, cut in zip(times["whole"], times["cut"])]
        ratios[graph] = {"median": statistics.median(pairs), "least": min(pairs), "most": max(pairs)}
    noted = {graph: [line for line in lines if "No valid GEMM" in line] for graph, lines in logs["whole"].items()}
    noted = {graph: lines for graph, lines in noted.items() if lines}
    print(f"{'graph':52} cut/whole: median   least    most")
    for graph, ratio in ratios.items():
        print(f"{graph:52}          {ratio['median']:8.3f} {ratio['least']:7.3f} {ratio['most']:7.3f}")
    print(f"differences: {differences or 'none'}")
    print(f"outputs that vary with one and the same provider: {unsteady or 'none'}")
    print(f"'No valid GEMM config' with the WHOLE provider: {noted or 'nowhere'}")
    result = {"rounds": arguments.rounds, "differences": differences, "unsteady": unsteady, "speed_ratio": ratios, "own_graphs": own,
              "own_speed_tok_s": own_speed, "small_graphs": small, "small_speed_us": small_speed, "no_valid_gemm_config_whole": noted,
              "log_lines": {name: {graph: len(lines) for graph, lines in log.items()} for name, log in logs.items()}}
    pathlib.Path(arguments.output).write_text(json.dumps(result, indent=1) + "\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
