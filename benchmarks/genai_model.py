"""Model folders that onnxruntime-genai loads: edgebench's own graph with genai's interface, or one of genai's builder."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

from in_turn import need


def adapt(folder, model):
    """Rewrites the exported model.onnx in place: attention_mask instead of seqlens_k and total_sequence_length, no next_ids."""
    need("onnx")
    import onnx
    from onnx import TensorProto, helper

    path = Path(folder) / "model.onnx"
    proto = onnx.load(str(path), load_external_data=False)
    graph = proto.graph
    inputs = {value.name: value for value in graph.input}
    missing = [name for name in ("seqlens_k", "total_sequence_length", "past_key_values.0.key") if name not in inputs]
    if missing:
        sys.exit(f"{path}: no input {', '.join(missing)}; --graph same knows decoders of the fused form with a cache for each layer")
    graph.input.remove(inputs["seqlens_k"])
    graph.input.remove(inputs["total_sequence_length"])
    # genai wants one type for mask and positions; edgebench's positions are int32.
    graph.input.insert(1, helper.make_tensor_value_info("attention_mask", TensorProto.INT32, ["batch", "total"]))
    # genai allocates the cache by max_length, whatever the model's own limit.
    for value in list(graph.input) + list(graph.output):
        if value.name.startswith(("past_key_values.", "present.")):
            value.type.tensor_type.shape.dim[2].dim_param = "cache_length"
    graph.initializer.extend([
        helper.make_tensor("mask/axes", TensorProto.INT64, [1], [1]),
        helper.make_tensor("mask/axis", TensorProto.INT64, [], [1]),
        helper.make_tensor("mask/one", TensorProto.INT32, [], [1])])
    # genai chooses the token itself, from the logits.
    nodes = [node for node in graph.node if "next_ids" not in node.output]
    del graph.node[:]
    graph.node.extend([
        helper.make_node("ReduceSum", ["attention_mask", "mask/axes"], ["mask/sum"], keepdims=0),
        helper.make_node("Sub", ["mask/sum", "mask/one"], ["seqlens_k"]),
        helper.make_node("Shape", ["attention_mask"], ["mask/shape"]),
        helper.make_node("Gather", ["mask/shape", "mask/axis"], ["mask/length"], axis=0),
        helper.make_node("Cast", ["mask/length"], ["total_sequence_length"], to=TensorProto.INT32)])
    graph.node.extend(nodes)
    graph.output.remove(next(value for value in graph.output if value.name == "next_ids"))
    path.write_bytes(proto.SerializeToString())
    names = [name for name in ("input_ids", "attention_mask", "position_ids") if name in {value.name for value in graph.input}]
    (Path(folder) / "genai_config.json").write_text(json.dumps(config(model, names), indent=1))


def config(model, inputs):
    """genai_config.json of an adapted graph; `configure` adds what a run wants."""
    return {
        "model": {
            "type": "decoder",
            "bos_token_id": 0,
            "vocab_size": model["vocab"],
            "context_length": model["max_positions"],
            "decoder": {
                "filename": "model.onnx",
                "head_size": model["head_dim"],
                "hidden_size": model["d_model"],
                "num_attention_heads": model["n_heads"],
                "num_key_value_heads": model["n_kv_heads"],
                "num_hidden_layers": model["n_layers"],
                "inputs": {name: name for name in inputs}
                | {"past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"},
                "outputs": {"logits": "logits", "present_key_names": "present.%d.key", "present_value_names": "present.%d.value"},
            },
        },
        "search": {},
    }


def same(args, model, folder):
    """edgebench's own graph and weights, adapted."""
    command = [args.edgebench, "export", args.model, "--form", "fused", "--precision", args.precision, "-o", str(folder)]
    if args.precision in ("int8", "int4"):
        command += ["--activations", "fp16" if args.device == "cuda" else "fp32"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: exit code {done.returncode}")
    adapt(folder, model)


def build(args, model, folder, scratch):
    """A random Llama of the model's size, through genai's builder."""
    ffn = model["ffn"]
    if ffn["kind"] not in ("gelu", "swiglu") or model.get("specialists"):
        sys.exit(f"--graph builder: {args.model} is no dense model; use --graph same")
    need("torch", "transformers", "tokenizers", "onnx_ir", "onnxruntime", "onnxruntime_genai")
    import torch
    import transformers
    from tokenizers import Tokenizer, models

    # A SwiGLU has three matrices where a GELU FFN has two: 2/3 of the width makes the weights as many.
    width = ffn["d_ff"] if ffn["kind"] == "swiglu" else ffn["d_ff"] * 2 // 3
    llama = transformers.LlamaConfig(
        vocab_size=model["vocab"], hidden_size=model["d_model"], intermediate_size=width,
        num_hidden_layers=model["n_layers"], num_attention_heads=model["n_heads"], num_key_value_heads=model["n_kv_heads"],
        head_dim=model["head_dim"], max_position_embeddings=model["max_positions"],
        tie_word_embeddings=model["tied_head"], bos_token_id=0, eos_token_id=1, pad_token_id=1)
    torch.manual_seed(42)
    source = Path(scratch) / "llama"
    transformers.LlamaForCausalLM(llama).to(torch.float32).save_pretrained(source)
    # The builder wants a tokenizer in the folder; nothing here reads it.
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>").save_pretrained(source)
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(source), "-o", str(folder)]
    command += ["-p", args.precision, "-e", args.device, "-c", f"{scratch}/cache"]
    options = ["prune_lm_head=true"]
    if args.device == "cuda":
        options.append("enable_cuda_graph=true")
    done = subprocess.run([*command, "--extra_options", *options], capture_output=True, text=True)
    if done.returncode or not (Path(folder) / "model.onnx").is_file():
        sys.exit(f"{shlex.join(command)}: exit code {done.returncode}, no model.onnx: {done.stderr[-2000:]}")


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


def configure(folder, args):
    """Writes the session's options of this comparison into genai_config.json."""
    path = Path(folder) / "genai_config.json"
    settings = json.loads(path.read_text())
    # What genai's builder has set besides stays as it is.
    session = settings["model"]["decoder"].setdefault("session_options", {})
    session["log_severity_level"] = 3
    session.pop("intra_op_num_threads", None)
    if args.threads:
        session["intra_op_num_threads"] = args.threads
    providers = session.setdefault("provider_options", [])
    if args.device == "cuda":
        cuda = next((provider["cuda"] for provider in providers if "cuda" in provider), None)
        if cuda is None:
            cuda = {}
            providers.append({"cuda": cuda})
        cuda["enable_cuda_graph"] = "0" if args.no_cuda_graph else "1"
    settings["search"].update(past_present_share_buffer=True, batch_size=1, num_beams=1, do_sample=False, min_length=0)
    # genai insists on an end token; one that does not come up, so that the generation is as long as asked for.
    vocabulary = settings["model"]["vocab_size"]
    end = vocabulary - 1 if args.end_token is None else args.end_token
    if not 0 <= end < vocabulary:
        sys.exit(f"--end-token {end}: must be from 0 to {vocabulary - 1}")
    settings["model"].update(eos_token_id=end, pad_token_id=end)
    path.write_text(json.dumps(settings, indent=1))
