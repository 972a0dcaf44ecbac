#!/usr/bin/env python3
"""How fast edgebench decodes beside onnxruntime-genai: one box, one model size, one prompt, batch 1, the two in turn.

    pip install onnxruntime-genai onnx                       # or onnxruntime-genai-cuda
    python benchmarks/genai_compare.py --edgebench target/release/edgebench --device cpu --precision int4 --threads 2

Each round starts edgebench and then onnxruntime-genai in a process of its own; each makes an untimed generation and then
--repetitions timed ones, greedy, of --prompt and --decode tokens. How the figures are obtained, the same on both sides:
  TTFT       the whole prompt's run and the choice of the first token; median over the repetitions
  ITL        every further token by itself, up to its id on the host (in genai: generate_next_token and get_next_tokens)
  tok/s      1 / the median of all ITLs of a round; the first token is in none of them
  mean       tokens / time of those tokens, the median over the repetitions: what stalls cost is in it
  ratio      edgebench's tok/s / genai's of the same round; the last lines give its least, median and greatest
  other      programs' share of the processors during the round, from /proc/stat; rounds with less than 5 % are also
             summed up apart (--settle waits for such a moment)
The KV buffers of both hold prompt + decode tokens, unless --kv-length makes them longer (--context in edgebench).

--graph same     genai drives the graph and the weights that `edgebench export --form fused` writes, with an attention mask in
                 place of the lengths, as its own graphs have; the first ids of both are compared, and must agree
--one-folder     edgebench drives the folder that genai drives, as a model of another program, and not its own
--graph builder  genai drives a graph of its own builder: a Llama of the same width, depth, heads, vocabulary and number of
                 weights read for a token (SwiGLU of 2/3 the width in place of GELU), random weights; needs torch, transformers
                 and onnx_ir, unless --genai-model names a folder made before (--make-only makes it, and nothing else). There
                 a file of weights that is missing is filled with random numbers, so that only model.onnx has to be carried

genai loads the libonnxruntime.so of the Python package `onnxruntime` (its folder capi), and the providers beside it; it sets
ORT_LIB_PATH itself, so setting that is of no use. --ort DIR gives another ONNX Runtime to both programs: DIR holds
libonnxruntime.so* and, for CUDA, libonnxruntime_providers_shared.so and _cuda.so. CUDA's libraries (cublas, cublasLt, curand,
cudart, and for genai cufft) are found in --cuda-dir, in NVIDIA's Python packages, or where the system's loader looks.
"""

import argparse
import ctypes
import glob
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import genai_model
import in_turn

# The official packages of ONNX Runtime 1.31 collect telemetry unless told not to, before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


# ---- genai, in a process of its own


def runtime_version():
    """The version of the ONNX Runtime that genai has loaded, by asking the library itself."""
    library = ctypes.CDLL(os.environ["ORT_LIB_PATH"])
    library.OrtGetApiBase.restype = ctypes.POINTER(ctypes.c_void_p * 2)
    return ctypes.CFUNCTYPE(ctypes.c_char_p)(library.OrtGetApiBase().contents[1])().decode()


def generation(genai, model, prompt, task):
    """One generation: seconds to the first token, seconds of each further one, ids."""
    params = genai.GeneratorParams(model)
    params.set_search_options(max_length=task["kv_length"], do_sample=False, num_beams=1, min_length=0)
    generator = genai.Generator(model, params)
    began = time.perf_counter()
    generator.append_tokens(prompt)
    generator.generate_next_token()
    ids = [int(generator.get_next_tokens()[0])]
    last = time.perf_counter()
    first, steps = last - began, []
    for _ in range(task["decode"] - 1):
        if generator.is_done():
            sys.exit(f"the end token {ids[-1]} came up after {len(ids)} tokens; name another one with --end-token")
        generator.generate_next_token()
        ids.append(int(generator.get_next_tokens()[0]))
        now = time.perf_counter()
        steps.append(now - last)
        last = now
    return first, steps, ids


def drive(task):
    """The process's whole life: load, one untimed generation, the timed ones; prints one JSON line."""
    in_turn.need("numpy", "onnxruntime_genai")
    import numpy
    import onnxruntime_genai as genai

    model = genai.Model(task["folder"])
    prompt = numpy.array(task["prompt"], dtype=numpy.int32)
    generation(genai, model, prompt, task)
    runs = [generation(genai, model, prompt, task) for _ in range(task["repetitions"])]
    print(json.dumps({
        "ttft_s": statistics.median(first for first, _, _ in runs),
        "tok_s": 1 / statistics.median(step for _, steps, _ in runs for step in steps),
        "mean": statistics.median(len(steps) / sum(steps) for _, steps, _ in runs),
        "first_ids": runs[-1][2][:16],
        "runtime": runtime_version()}))


def cuda_folders(args, gpu):
    """Where CUDA's libraries may be: as told, where edgebench found its own, and in NVIDIA's Python packages."""
    if args.device != "cuda":
        return []
    used = [str(Path(library).parent) for library in (gpu or {}).get("libraries", [])]
    packages = [folder for place in sys.path for folder in sorted(glob.glob(f"{place}/nvidia/*/lib"))]
    return list(dict.fromkeys(args.cuda_dir + used + packages))


def child_environment(args, gpu, scratch):
    environment = dict(os.environ)
    paths = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    if args.ort:
        # genai asks Python where the package `onnxruntime` lies, and takes libonnxruntime.so from its folder capi.
        package = Path(scratch) / "runtime" / "onnxruntime"
        (package / "capi").mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        libraries = sorted(Path(args.ort).resolve().glob("libonnxruntime*.so*"))
        if not any(library.name.startswith("libonnxruntime.so") for library in libraries):
            sys.exit(f"--ort {args.ort}: no libonnxruntime.so in it; name the folder that holds it")
        for library in libraries:
            link = package / "capi" / library.name
            if not link.is_symlink():
                link.symlink_to(library)
        paths.insert(0, str(package.parent))
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    folders = cuda_folders(args, gpu) + [place for place in [environment.get("LD_LIBRARY_PATH")] if place]
    if folders:
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(folders)
    return environment


# ---- both, in turn


def package_version():
    for name in ("onnxruntime-genai-cuda", "onnxruntime-genai"):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "onnxruntime-genai, version not known"


def head(args, ours, theirs):
    graphs = "off" if args.no_cuda_graph or args.device == "cpu" else "on"
    print(f"{in_turn.machine(ours)}; {package_version()} with ONNX Runtime {theirs['runtime']}; Python {platform.python_version()}")
    print(f"{args.model} {args.precision} on {args.device}, genai's graph: {args.genai_model or args.graph}; prompt {args.prompt}, "
          f"decode {args.decode}, KV buffers of {args.kv_length}")
    print(f"tunings of the runtime that edgebench kept or was told to use: {ours['tuning']}")
    print(f"threads: {args.threads or 'as each takes by itself'}; CUDA graphs {graphs}; {args.repetitions} repetitions in each of {args.rounds} rounds")
    print("         decode tok/s by ITL         decode tok/s by mean            TTFT, ms                 other")
    print("round  edgebench      genai   ratio  edgebench      genai   ratio  edgebench      genai   ratio  programs", flush=True)


def row(number, ours, theirs, ratio, others):
    cells = [f"{number:>5}"]
    for key, scale in (("tok_s", 1), ("mean", 1), ("ttft_s", 1e3)):
        cells.append(f"{ours[key] * scale:9.2f}  {theirs[key] * scale:9.2f}  {ratio[key]:6.3f}")
    print("  ".join(cells), f"    {in_turn.share(others)}", flush=True)


def compare(args, model, folder, scratch):
    prompt = in_turn.write_prompt(model, args.prompt, scratch)
    ratios = in_turn.Ratios()
    for number in range(1, args.rounds + 1):
        in_turn.settle(args.settle)
        load = in_turn.Load()
        ours = in_turn.run_edgebench(args, args.precision, scratch)
        task = {"folder": str(folder), "prompt": prompt, "decode": args.decode, "repetitions": args.repetitions, "kv_length": args.kv_length}
        theirs = in_turn.run_other(__file__, task, child_environment(args, ours["environment"]["gpu"], scratch))
        if number == 1:
            head(args, ours, theirs)
        ratio = {key: ours[key] / theirs[key] for key in ("tok_s", "mean", "ttft_s")}
        others = load.others()
        ratios.add(others, **ratio)
        row(number, ours, theirs, ratio, others)
    titles = {"tok_s": "edgebench/genai, decode by ITL", "mean": "edgebench/genai, decode by mean", "ttft_s": "edgebench/genai, TTFT"}
    print(*ratios.lines(titles), sep="\n")
    if args.graph == "same" or args.one_folder:
        same = in_turn.agreement(ours["first_ids"], theirs["first_ids"])
        print(f"first ids: {same} of {len(ours['first_ids'])} the same")
        if same == 0:
            sys.exit("not even the first token is the same: the two did not compute the same thing, and the figures mean nothing")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    in_turn.add_arguments(parser, repetitions=5, rounds=5)
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8", "int4"), help="default: fp32 on the CPU, fp16 on CUDA")
    parser.add_argument("--graph", choices=("same", "builder"), default="same", help="what genai drives (default: %(default)s)")
    parser.add_argument("--one-folder", action="store_true", help="edgebench drives genai's folder too, and not its own model")
    parser.add_argument("--genai-model", metavar="DIR", help="a folder made before with --make-only")
    parser.add_argument("--make-only", metavar="DIR", help="make genai's model in this folder, and measure nothing")
    parser.add_argument("--kv-length", type=int, help="tokens that both KV buffers hold (default: prompt + decode)")
    parser.add_argument("--no-cuda-graph", action="store_true", help="both without CUDA graphs")
    parser.add_argument("--end-token", type=int, help="an id that the model does not choose (default: the last of the vocabulary)")
    parser.add_argument("--drive", metavar="-", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.drive:
        return args
    in_turn.check_arguments(parser, args)
    args.precision = args.precision or ("fp16" if args.device == "cuda" else "fp32")
    args.kv_length = args.kv_length or args.prompt + args.decode
    if args.kv_length < args.prompt + args.decode:
        parser.error(f"--kv-length must be at least {args.prompt + args.decode}, prompt and decode together")
    if args.kv_length > in_turn.spec(args.model)["max_positions"]:
        parser.error(f"--kv-length must be at most {in_turn.spec(args.model)['max_positions']}, the positions of {args.model}")
    if args.precision == {"cpu": "fp16", "cuda": "fp32"}[args.device]:
        parser.error("fp32 is for the CPU and fp16 for CUDA: edgebench runs no other of the two there")
    if not args.edgebench and not (args.make_only and args.graph == "builder"):
        parser.error("--edgebench is needed")
    if args.no_cuda_graph:
        args.edgebench_args += " --no-cuda-graph"
    return args


def main():
    args = arguments()
    if args.drive:
        return drive(json.loads(sys.stdin.read()))
    model = in_turn.spec(args.model)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.genai_model or args.make_only or f"{scratch}/model")
        if args.genai_model:
            if genai_model.fill(folder):
                print(f"{folder}: its weights were not there and are random numbers now", file=sys.stderr)
        elif args.graph == "same":
            genai_model.same(args, model, folder)
        else:
            genai_model.build(args, model, folder, scratch)
        genai_model.configure(folder, args)
        args.folder = str(folder) if args.one_folder else None
        if args.make_only:
            print(f"wrote {folder}")
            return
        compare(args, model, folder, scratch)


if __name__ == "__main__":
    main()
