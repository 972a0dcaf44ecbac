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
The KV buffer of edgebench holds prompt + decode tokens. That is genai's max_length too, unless --kv-length makes it longer.

--graph same     genai drives the graph and the weights that `edgebench export --form fused` writes, with an attention mask in
                 place of the lengths, as its own graphs have; the first ids of both are compared, and must agree
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
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

# The official packages of ONNX Runtime 1.31 collect telemetry unless told not to, before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

MODELS = Path(__file__).resolve().parent.parent / "models"
FROM = {"onnx": "onnx", "onnx_ir": "onnx-ir", "onnxruntime_genai": "onnxruntime-genai (or onnxruntime-genai-cuda)"}


def need(*names):
    """Imports modules, or says which one is missing."""
    for name in names:
        try:
            __import__(name)
        except ImportError as error:
            sys.exit(f"could not load the Python module {name}: {error}; do: pip install {FROM.get(name, name)}")


def spec(name):
    path = MODELS / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in MODELS.glob("*.json")))
        sys.exit(f"--model {name}: {path} is not there; known are {known}")
    return json.loads(path.read_text())


# ---- the graph that edgebench exports, as genai wants it


def adapt(folder, model):
    """Rewrites the exported model.onnx in place: attention_mask instead of seqlens_k and total_sequence_length, no next_ids."""
    import onnx
    from onnx import TensorProto, helper

    path = str(Path(folder) / "model.onnx")
    proto = onnx.load(path, load_external_data=False)
    graph = proto.graph
    inputs = {value.name for value in graph.input}
    missing = {"seqlens_k", "total_sequence_length", "position_ids"} - inputs
    if "past_key_values.0.key" not in inputs:
        missing.add("past_key_values.0.key")
    if missing - {"position_ids"}:
        sys.exit(f"{path}: it has no input {', '.join(sorted(missing))}; --graph same knows decoders of the fused form with one cache for each layer")
    for value in [value for value in graph.input if value.name in ("seqlens_k", "total_sequence_length")]:
        graph.input.remove(value)
    # genai allocates the cache by max_length, whatever the model's own limit.
    for value in list(graph.input) + list(graph.output):
        if value.name.startswith(("past_key_values.", "present.")):
            value.type.tensor_type.shape.dim[2].dim_param = "cache_length"
    # genai wants one type for mask and positions; edgebench's positions are int32.
    graph.input.insert(1, helper.make_tensor_value_info("attention_mask", TensorProto.INT32, ["batch", "total"]))
    scalars = {"mask_axis": ([1], 1), "mask_one": ([], 1), "mask_dim": ([], 1)}
    for name, (shape, value) in scalars.items():
        kind = TensorProto.INT32 if name == "mask_one" else TensorProto.INT64
        graph.initializer.append(helper.make_tensor(name, kind, shape, [value]))
    nodes = [
        helper.make_node("ReduceSum", ["attention_mask", "mask_axis"], ["mask_sum"], keepdims=0),
        helper.make_node("Sub", ["mask_sum", "mask_one"], ["seqlens_k"]),
        helper.make_node("Shape", ["attention_mask"], ["mask_shape"]),
        helper.make_node("Gather", ["mask_shape", "mask_dim"], ["mask_length"], axis=0),
        helper.make_node("Cast", ["mask_length"], ["total_sequence_length"], to=TensorProto.INT32),
    ]
    # genai chooses the token itself, from the logits.
    kept = [node for node in graph.node if "next_ids" not in node.output]
    del graph.node[:]
    graph.node.extend(nodes + kept)
    for value in [value for value in graph.output if value.name == "next_ids"]:
        graph.output.remove(value)
    Path(path).write_bytes(proto.SerializeToString())
    names = {"input_ids": "input_ids", "attention_mask": "attention_mask"}
    if "position_ids" in inputs:
        names["position_ids"] = "position_ids"
    config = {
        "model": {
            "type": "decoder",
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
            "vocab_size": model["vocab"],
            "context_length": model["max_positions"],
            "decoder": {
                "filename": "model.onnx",
                "head_size": model["head_dim"],
                "hidden_size": model["d_model"],
                "num_attention_heads": model["n_heads"],
                "num_key_value_heads": model["n_kv_heads"],
                "num_hidden_layers": model["n_layers"],
                "inputs": {**names, "past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"},
                "outputs": {"logits": "logits", "present_key_names": "present.%d.key", "present_value_names": "present.%d.value"},
                "session_options": {},
            },
        },
        "search": {"do_sample": False, "num_beams": 1},
    }
    (Path(folder) / "genai_config.json").write_text(json.dumps(config, indent=1))


def export_same(args, model, folder):
    command = [args.edgebench, "export", args.model, "--form", "fused", "--precision", args.precision, "-o", str(folder)]
    if args.precision in ("int8", "int4"):
        command += ["--activations", "fp16" if args.device == "cuda" else "fp32"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: exit code {done.returncode}")
    adapt(folder, model)


# ---- the graph of genai's own builder


def build(args, model, folder, scratch):
    """A random Llama of the model's size, through genai's builder."""
    need("torch", "transformers", "tokenizers", "onnx_ir", "onnxruntime", "onnxruntime_genai")
    import torch
    import transformers

    ffn = model["ffn"]
    if ffn["kind"] not in ("gelu", "swiglu"):
        sys.exit(f"--graph builder: {args.model} is no dense model; use --graph same")
    # A SwiGLU has three matrices where a GELU FFN has two: 2/3 of the width makes the weights as many.
    width = ffn["d_ff"] if ffn["kind"] == "swiglu" else ffn["d_ff"] * 2 // 3
    config = transformers.LlamaConfig(
        vocab_size=model["vocab"], hidden_size=model["d_model"], intermediate_size=width,
        num_hidden_layers=model["n_layers"], num_attention_heads=model["n_heads"], num_key_value_heads=model["n_kv_heads"],
        head_dim=model["head_dim"], max_position_embeddings=model["max_positions"],
        tie_word_embeddings=model["tied_head"], bos_token_id=0, eos_token_id=1, pad_token_id=1)
    torch.manual_seed(42)
    source = Path(scratch) / "llama"
    transformers.LlamaForCausalLM(config).to(torch.float32).save_pretrained(source)
    # The builder wants a tokenizer in the folder; nothing here reads it.
    from tokenizers import Tokenizer, models
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>").save_pretrained(source)
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(source), "-o", str(folder)]
    command += ["-p", args.precision, "-e", args.device, "-c", f"{scratch}/cache"]
    options = ["prune_lm_head=true"]
    if args.device == "cuda":
        options.append("enable_cuda_graph=true")
    done = subprocess.run([*command, "--extra_options", *options], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: exit code {done.returncode}: {done.stderr[-2000:]}")


def fill(folder):
    """Random numbers for the external weights of a model that came without them; True if there was anything to fill."""
    graph = Path(folder) / "model.onnx"
    if not graph.is_file():
        sys.exit(f"{graph} is not there; make the folder with --make-only")
    need("onnx", "numpy")
    import numpy
    import onnx

    proto = onnx.load(str(graph), load_external_data=False)
    absent, random = {}, numpy.random.default_rng(42)
    for tensor in proto.graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        if place and not (Path(folder) / place["location"]).is_file():
            absent.setdefault(place["location"], []).append((tensor, place))
    for location, tensors in absent.items():
        with open(Path(folder) / location, "wb") as file:
            for tensor, place in tensors:
                kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
                if kind.kind == "f":
                    # Scales of blocks are positive; a spread like that of a fresh model keeps fp16 from overflowing.
                    values = random.standard_normal(tuple(tensor.dims), numpy.float32) * 0.02
                    values = (abs(values) if "scale" in tensor.name else values).astype(kind)
                elif kind == numpy.uint8:
                    values = random.integers(0, 256, tuple(tensor.dims), numpy.uint8)
                else:
                    sys.exit(f"{folder}/{location} is not there, and {tensor.name} is of {kind}, which random numbers cannot stand for; carry the file")
                file.seek(int(place.get("offset", 0)))
                file.write(values.tobytes())
    return bool(absent)


# ---- genai, in a process of its own


def configure(folder, args):
    """Writes the session's options of this comparison into genai_config.json."""
    path = Path(folder) / "genai_config.json"
    config = json.loads(path.read_text())
    decoder = config["model"]["decoder"]
    session = {"log_severity_level": 3, "provider_options": []}
    if args.threads:
        session["intra_op_num_threads"] = args.threads
    if args.device == "cuda":
        session["provider_options"] = [{"cuda": {"enable_cuda_graph": "0" if args.no_cuda_graph else "1"}}]
    decoder["session_options"] = session
    config["search"].update(past_present_share_buffer=True, batch_size=1, num_beams=1, do_sample=False, min_length=0)
    # genai insists on an end token; one that does not come up, so that the generation is as long as asked for.
    vocabulary = config["model"]["vocab_size"]
    end = vocabulary - 1 if args.end_token is None else args.end_token
    if not 0 <= end < vocabulary:
        sys.exit(f"--end-token {end}: must be from 0 to {vocabulary - 1}")
    config["model"].update(eos_token_id=end, pad_token_id=end)
    path.write_text(json.dumps(config, indent=1))


def runtime_version():
    """The version of the ONNX Runtime that genai has loaded, by asking the library itself."""
    library = ctypes.CDLL(os.environ["ORT_LIB_PATH"])
    library.OrtGetApiBase.restype = ctypes.POINTER(ctypes.c_void_p * 2)
    return ctypes.CFUNCTYPE(ctypes.c_char_p)(library.OrtGetApiBase().contents[1])().decode()


def drive(task):
    """The process's whole life: load, one untimed generation, the timed ones; prints one JSON line."""
    need("numpy", "onnxruntime_genai")
    import numpy
    import onnxruntime_genai as genai

    began = time.perf_counter()
    model = genai.Model(task["folder"])
    loaded = time.perf_counter() - began
    prompt = numpy.array(task["prompt"], dtype=numpy.int32)
    ttft, itl, sums, ids = [], [], [], []
    for repetition in range(task["repetitions"] + 1):
        params = genai.GeneratorParams(model)
        params.set_search_options(max_length=task["kv_length"], do_sample=False, num_beams=1, min_length=0)
        generator = genai.Generator(model, params)
        began = time.perf_counter()
        generator.append_tokens(prompt)
        generator.generate_next_token()
        token = generator.get_next_tokens()[0]
        last = time.perf_counter()
        first, steps, ids = last - began, [], [int(token)]
        for _ in range(task["decode"] - 1):
            if generator.is_done():
                sys.exit(f"the end token {ids[-1]} came up after {len(ids)} tokens; name another one with --end-token")
            generator.generate_next_token()
            token = generator.get_next_tokens()[0]
            now = time.perf_counter()
            steps.append(now - last)
            ids.append(int(token))
            last = now
        del generator
        if repetition:
            ttft.append(first)
            itl += steps
            sums.append(len(steps) / sum(steps))
    print(json.dumps({"load_s": loaded, "ttft_s": statistics.median(ttft), "itl_s": statistics.median(itl),
                      "mean": statistics.median(sums), "first_ids": ids[:16], "runtime": runtime_version()}))


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


def run_genai(args, folder, prompt, environment):
    task = {"folder": str(folder), "prompt": prompt, "decode": args.decode, "repetitions": args.repetitions,
            "kv_length": args.kv_length}
    command = [sys.executable, __file__, "--drive", "-"]
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, env=environment)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        sys.exit(f"onnxruntime-genai ended with exit code {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    result = json.loads(lines[-1])
    return {**result, "tok_s": 1 / result["itl_s"]}


# ---- edgebench


def write_prompt(model, length, scratch):
    """A prompt that both can be given: ids spread over the vocabulary, as words of a tokenizer that knows nothing else."""
    ids = [2 + at * 7919 % (model["vocab"] - 2) for at in range(length)]
    words = {f"w{number}": number for number in sorted(set(ids))}
    words["[UNK]"] = 0
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                 "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
                 "model": {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}}
    Path(scratch, "tokenizer.json").write_text(json.dumps(tokenizer))
    Path(scratch, "prompt.txt").write_text(" ".join(f"w{number}" for number in ids) + "\n")
    return ids


def run_edgebench(args, scratch, number):
    result = f"{scratch}/result-{number}.json"
    command = [args.edgebench, "--model", args.model, "--form", "fused", "--precision", args.precision, "--device", args.device]
    command += ["-p", str(args.prompt), "-n", str(args.decode), "-r", str(args.repetitions), "--warmup", "1", "--ceiling", "none"]
    command += ["--tokenizer", f"{scratch}/tokenizer.json", "--prompt-file", f"{scratch}/prompt.txt"]
    command += ["--threads", str(args.threads)] if args.threads else []
    command += ["--ort", args.ort] if args.ort else []
    command += ["--no-cuda-graph"] if args.no_cuda_graph else []
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
            "environment": report["environment"], "tool": report["tool"]}


# ---- both, in turn


def spread(values):
    return f"min {min(values):.3f}, median {statistics.median(values):.3f}, max {max(values):.3f}"


def package_version():
    for name in ("onnxruntime-genai-cuda", "onnxruntime-genai"):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "onnxruntime-genai, version not known"


def agreement(ours, theirs):
    """How many of the first ids are the same, from the first on."""
    for at, (left, right) in enumerate(zip(ours, theirs)):
        if left != right:
            return at
    return min(len(ours), len(theirs))


def compare(args, model, folder, scratch):
    prompt = write_prompt(model, args.prompt, scratch)
    rows = []
    for number in range(1, args.rounds + 1):
        ours = run_edgebench(args, scratch, number)
        theirs = run_genai(args, folder, prompt, child_environment(args, ours["environment"]["gpu"], scratch))
        if number == 1:
            head(args, ours, theirs)
        rows.append((ours, theirs))
        print(f"{number:>5}  {ours['tok_s']:9.2f}  {theirs['tok_s']:9.2f}  {ours['tok_s'] / theirs['tok_s']:6.3f}"
              f"  {ours['mean']:9.2f}  {theirs['mean']:9.2f}  {ours['mean'] / theirs['mean']:6.3f}"
              f"  {ours['ttft_s'] * 1e3:9.2f}  {theirs['ttft_s'] * 1e3:9.2f}  {ours['ttft_s'] / theirs['ttft_s']:6.3f}", flush=True)
    for title, key in (("decode, edgebench / genai", "tok_s"), ("decode by means", "mean"), ("TTFT, edgebench / genai", "ttft_s")):
        print(f"{title + ':':27}{spread([ours[key] / theirs[key] for ours, theirs in rows])}")
    if args.graph == "same":
        same = agreement(rows[0][0]["first_ids"], rows[0][1]["first_ids"])
        print(f"first ids:                 {same} of {len(rows[0][0]['first_ids'])} the same")
        if same == 0:
            sys.exit("not even the first token is the same: the two did not compute the same thing, and the figures mean nothing")


def head(args, ours, theirs):
    environment, tool = ours["environment"], ours["tool"]
    processor = f"{environment['cpu_info']}, {environment['cpu_cores']} cores"
    gpu = f"{environment['gpu_info']}, driver {environment['gpu']['driver_version']}; " if environment["gpu"] else ""
    graphs = "off" if args.no_cuda_graph or args.device == "cpu" else "on"
    print(f"machine: {gpu}{processor}, {environment['os']}")
    print(f"edgebench {tool['version']} ({tool['commit']}) with ONNX Runtime {environment['runtime_version']}; "
          f"{package_version()} with ONNX Runtime {theirs['runtime']}; Python {platform.python_version()}")
    print(f"{args.model} {args.precision} on {args.device}, genai's graph: {args.genai_model or args.graph}; prompt {args.prompt}, "
          f"decode {args.decode}, KV buffer {args.prompt + args.decode} and genai's {args.kv_length}")
    print(f"threads {args.threads or 'as each takes by itself'}, CUDA graphs {graphs}, {args.repetitions} repetitions in each of {args.rounds} rounds")
    print("         decode tok/s by ITL         decode tok/s by mean            TTFT, ms")
    print("round  edgebench      genai   ratio  edgebench      genai   ratio  edgebench      genai   ratio", flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edgebench", metavar="PATH", help="the edgebench binary")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8", "int4"), help="default: fp32 on the CPU, fp16 on CUDA")
    parser.add_argument("--model", default="dense-120m", help="a built-in model (default: %(default)s)")
    parser.add_argument("--graph", choices=("same", "builder"), default="same", help="what genai drives (default: %(default)s)")
    parser.add_argument("--genai-model", metavar="DIR", help="a folder made before with --make-only")
    parser.add_argument("--make-only", metavar="DIR", help="make genai's model in this folder, and measure nothing")
    parser.add_argument("-p", "--prompt", type=int, default=256, help="prompt tokens (default: %(default)s)")
    parser.add_argument("-n", "--decode", type=int, default=128, help="generated tokens (default: %(default)s)")
    parser.add_argument("--kv-length", type=int, help="genai's max_length (default: prompt + decode, as edgebench has it)")
    parser.add_argument("-r", "--repetitions", type=int, default=5, help="timed repetitions per round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="alternations of the two (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="threads of the CPU provider, of both (default: what each takes by itself)")
    parser.add_argument("--no-cuda-graph", action="store_true", help="both without CUDA graphs")
    parser.add_argument("--ort", metavar="DIR", help="folder of the ONNX Runtime for both (default: edgebench's own, and the package's)")
    parser.add_argument("--cuda-dir", metavar="DIR", action="append", default=[], help="folder of CUDA libraries; may be repeated")
    parser.add_argument("--edgebench-args", metavar="ARGS", default="", help="further options of edgebench, in one string")
    parser.add_argument("--end-token", type=int, help="an id that the model does not choose (default: the last of the vocabulary)")
    parser.add_argument("--drive", metavar="-", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.drive:
        return args
    args.precision = args.precision or ("fp16" if args.device == "cuda" else "fp32")
    args.kv_length = args.kv_length or args.prompt + args.decode
    if args.decode < 2:
        parser.error("-n must be at least 2: the first token is in no inter-token latency")
    if args.kv_length < args.prompt + args.decode:
        parser.error(f"--kv-length must be at least {args.prompt + args.decode}, prompt and decode together")
    if args.rounds < 1 or args.repetitions < 1:
        parser.error("--rounds and --repetitions must be at least 1")
    if (args.precision == "fp32") == (args.device == "cuda") and args.precision in ("fp32", "fp16"):
        parser.error("fp32 is for the CPU and fp16 for CUDA: the attention operator of both has no other kernel there")
    if not args.edgebench and not (args.make_only and args.graph == "builder"):
        parser.error("--edgebench is needed")
    return args


def main():
    args = arguments()
    if args.drive:
        return drive(json.loads(sys.stdin.read()))
    model = spec(args.model)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.genai_model or args.make_only or f"{scratch}/model")
        if args.genai_model:
            if fill(folder):
                print(f"{folder}: its weights were not there and are random numbers now", file=sys.stderr)
        elif args.graph == "same":
            need("onnx")
            export_same(args, model, folder)
        else:
            build(args, model, folder, scratch)
        configure(folder, args)
        if args.make_only:
            print(f"wrote {folder}")
            return
        compare(args, model, folder, scratch)


if __name__ == "__main__":
    main()
