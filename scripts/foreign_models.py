#!/usr/bin/env python3
"""Makes the ONNX models of other exporters that edgebench is tested with, and what ONNX Runtime computes of them.

    pip install onnxruntime-genai==0.18.0 onnxruntime==1.31.1 transformers==5.24.0 torch onnx onnx-ir onnxscript
    python scripts/foreign_models.py tests/fixtures/foreign --only genai,hand

    pip install optimum-onnx==0.1.0 transformers==4.57.6 onnxruntime==1.31.1    # in an environment of its own
    python scripts/foreign_models.py tests/fixtures/foreign --only optimum

One small model with random weights (seeded) for each exporter and kind of graph, with nothing changed in what the exporter
wrote; beside it golden.json: a prompt, the logits after it and after each of 16 greedy tokens, as onnxruntime's Python API
computes them on the CPU. The same versions give the same files.
"""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

PROMPT = [3, 17, 90, 41, 5, 66, 66, 12, 101, 7, 23]
GREEDY_TOKENS = 16
VOCAB = 128
HEAD = 16

SMALL = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
    max_position_embeddings=96, bos_token_id=0, eos_token_id=1, pad_token_id=None, tie_word_embeddings=False,
)
TYPES = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}


def checkpoint(folder, config, kind):
    """A random checkpoint in which every part is heard in the logits."""
    import torch
    import transformers

    torch.manual_seed(7)
    model = kind(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            spread = 0.3 if "norm" not in name else 0.1
            weight.copy_(torch.randn_like(weight) * spread + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
    model.save_pretrained(folder)
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"w{index}": index for index in range(VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w2"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="w0", eos_token="w1", unk_token="w2"
    ).save_pretrained(folder)


def genai(out, family_only):
    import transformers
    from onnxruntime_genai.models.builder import create_model, parse_extra_options

    configs = {
        "llama": (transformers.LlamaConfig(**SMALL, head_dim=16), transformers.LlamaForCausalLM),
        "qwen3": (transformers.Qwen3Config(**SMALL, head_dim=16), transformers.Qwen3ForCausalLM),
    }
    wanted = [("llama", "fp32"), ("llama", "fp16"), ("llama", "int4"), ("qwen3", "fp32"), ("qwen3", "int4")]
    for family, precision in wanted:
        if family_only not in family:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            checkpoint(folder / "hf", *configs[family])
            target = out / f"genai-{family}-{precision}"
            shutil.rmtree(target, ignore_errors=True)
            try:
                # An fp16 graph is one for GPUs; ONNX Runtime's CPU provider runs it all the same.
                provider = "cuda" if precision == "fp16" else "cpu"
                args = ("", str(folder / "hf"), str(target), precision, provider, str(folder / "cache"))
                create_model(*args, **parse_extra_options(*args, []))
            except Exception as error:  # What a builder cannot make is told, and the others are made.
                print(f"{target.name}: {type(error).__name__}: {error}")
                shutil.rmtree(target, ignore_errors=True)
                continue
            keep(target, {"genai_config.json"})
            golden(target)


def optimum(out):
    import transformers
    from optimum.exporters.onnx import main_export

    gpt2 = transformers.GPT2Config(vocab_size=VOCAB, n_positions=96, n_embd=32, n_layer=2, n_head=2, n_inner=64,
                                   bos_token_id=0, eos_token_id=1)
    llama = transformers.LlamaConfig(**SMALL, head_dim=16)
    wanted = [
        ("optimum-gpt2", gpt2, transformers.GPT2LMHeadModel, "text-generation-with-past"),
        ("optimum-llama", llama, transformers.LlamaForCausalLM, "text-generation-with-past"),
        ("optimum-gpt2-no-cache", gpt2, transformers.GPT2LMHeadModel, "text-generation"),
    ]
    for name, config, kind, task in wanted:
        with tempfile.TemporaryDirectory() as temporary:
            checkpoint(Path(temporary), config, kind)
            target = out / name
            shutil.rmtree(target, ignore_errors=True)
            main_export(temporary, output=target, task=task, do_validation=False, no_post_process=False)
            keep(target, {"config.json"})
            golden(target)


def torch_module():
    """A decoder whose caches are plain tensors, as one exports it without any library around it."""
    import torch
    from torch import nn

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.o = nn.Linear(32, 96), nn.Linear(32, 32)
            self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)
            self.norm, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)

        def forward(self, x, key, value, bias):
            q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
            q, k, v = (t.unflatten(-1, (2, 16)).transpose(1, 2) for t in (q, k, v))
            key, value = torch.cat([key, k], 2), torch.cat([value, v], 2)
            weights = torch.softmax(q @ key.transpose(-1, -2) * 0.25 + bias, -1)
            x = x + self.o((weights @ value).transpose(1, 2).flatten(2))
            return x + self.down(torch.nn.functional.gelu(self.up(self.norm2(x)))), key, value

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(VOCAB, 32), nn.Embedding(96, 32)
            self.layers, self.head = nn.ModuleList([Layer(), Layer()]), nn.Linear(32, VOCAB, bias=False)

        def forward(self, tokens, cache):
            past, new = cache[0][0].shape[2], tokens.shape[1]
            at = torch.arange(past, past + new)
            bias = torch.where(torch.arange(past + new)[None] <= at[:, None], 0.0, -1e9)
            x, after = self.wte(tokens) + self.wpe(at), []
            for layer, (key, value) in zip(self.layers, cache):
                x, key, value = layer(x, key, value, bias)
                after.append((key, value))
            return self.head(x), after

    torch.manual_seed(7)
    return Decoder().eval()


def dynamo(out):
    import torch

    target = out / "torch-dynamo"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    model = torch_module()
    cache = [(torch.zeros(2, 2, 5, 16), torch.zeros(2, 2, 5, 16)) for _ in range(2)]
    batch, new, past = torch.export.Dim("batch"), torch.export.Dim("new"), torch.export.Dim("past")
    shapes = ({0: batch, 1: new}, [({0: batch, 2: past}, {0: batch, 2: past}) for _ in range(2)])
    torch.onnx.export(model, (torch.ones(2, 3, dtype=torch.int64), cache), target / "model.onnx", dynamo=True,
                      dynamic_shapes=shapes, opset_version=18, external_data=True)
    golden(target)


class Graph:
    """A decoder written node by node: opset-23 Attention with its caches and a mixture of experts, or with a branch for the first run."""

    def __init__(self):
        self.nodes, self.weights, self.random = [], [], np.random.default_rng(7)

    def add(self, op, inputs, outputs=None, **attributes):
        outputs = outputs or [f"{op}_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(op, inputs, outputs, **attributes))
        return outputs[0]

    def weight(self, name, *shape, spread=0.3, about=0.0):
        values = (self.random.standard_normal(shape) * spread + about).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def constant(self, values, kind=np.int64):
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(values, kind), name))
        return name

    def linear(self, x, name, inner, outer):
        return self.add("MatMul", [x, self.weight(f"{name}.weight", inner, outer)])


def attention_23(out, experts=4, inner=32):
    """Two of the experts are chosen for each token."""
    g = Graph()
    x = g.add("Gather", [g.weight("model.embed_tokens.weight", VOCAB, 32), "input_ids"])
    for layer in range(2):
        name = f"model.layers.{layer}"
        h = g.add("RMSNormalization", [x, g.weight(f"{name}.input_layernorm.weight", 32, spread=0.1, about=1.0)], axis=-1)
        q, k, v = (g.linear(h, f"{name}.self_attn.{part}_proj", 32, size) for part, size in [("q", 32), ("k", 16), ("v", 16)])
        tables = [g.weight(f"{name}.{part}_cache", 96, 8, spread=1.0) for part in ("cos", "sin")]
        q = g.add("RotaryEmbedding", [q, *tables, "position_ids"], num_heads=2)
        k = g.add("RotaryEmbedding", [k, *tables, "position_ids"], num_heads=1)
        attended = g.add("Attention", [q, k, v, "", f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"],
                         [f"attended_{layer}", f"present.{layer}.key", f"present.{layer}.value"],
                         is_causal=1, q_num_heads=2, kv_num_heads=1)
        x = g.add("Add", [x, g.linear(attended, f"{name}.self_attn.o_proj", 32, 32)])
        h = g.add("RMSNormalization", [x, g.weight(f"{name}.post_attention_layernorm.weight", 32, spread=0.1, about=1.0)], axis=-1)
        router = g.linear(h, f"{name}.mlp.router", 32, experts)
        router = g.add("Reshape", [router, g.constant([-1, experts])])
        first = g.weight(f"{name}.mlp.experts.fc1", experts, inner, 32)
        second = g.weight(f"{name}.mlp.experts.fc2", experts, 32, inner)
        mixed = g.add("MoE", [h, router, first, "", second], domain="com.microsoft", k=2, activation_type="gelu",
                      normalize_routing_weights=1)
        x = g.add("Add", [x, mixed])
    g.add("MatMul", [x, g.weight("lm_head.weight", 32, VOCAB)], ["logits"])
    save(out / "attention-23-moe", g, ["input_ids", "position_ids"], 23)


def merged(out):
    """The first run takes another branch than the others, as merged decoders do: there the past, of no length, is not read."""
    g = Graph()
    x = g.add("Gather", [g.weight("transformer.wte.weight", VOCAB, 32), "input_ids"])
    total = g.add("Shape", ["attention_mask"], start=1)
    new = g.add("Shape", ["input_ids"], start=1, end=2)
    past = g.add("Sub", [total, new])
    zero, one = g.constant(0), g.constant(1)
    scalar = lambda value: g.add("Squeeze", [value])
    at = g.add("Range", [scalar(past), scalar(total), one])
    upto = g.add("Range", [zero, scalar(total), one])
    seen = g.add("LessOrEqual", [upto, g.add("Unsqueeze", [at, g.constant([1])])])
    bias = g.add("Where", [seen, g.constant(0.0, np.float32), g.constant(-1e9, np.float32)])
    for layer in range(2):
        h = g.add("LayerNormalization", [x, g.weight(f"transformer.h.{layer}.ln_1.weight", 32, spread=0.1, about=1.0),
                                         g.weight(f"transformer.h.{layer}.ln_1.bias", 32, spread=0.1)])
        heads = []
        for part in "qkv":
            flat = g.linear(h, f"transformer.h.{layer}.attn.{part}", 32, 32)
            split = g.add("Reshape", [flat, g.constant([0, 0, 2, 16])])
            heads.append(g.add("Transpose", [split], perm=[0, 2, 1, 3]))
        q, *new_ones = heads
        kept = []
        for kind, value in zip(("key", "value"), new_ones):
            first = helper.make_graph([helper.make_node("Identity", [value], ["first"])], "first", [],
                                      [helper.make_tensor_value_info("first", TensorProto.FLOAT, None)])
            then = helper.make_graph(
                [helper.make_node("Concat", [f"past_key_values.{layer}.{kind}", value], ["then"], axis=2)], "then", [],
                [helper.make_tensor_value_info("then", TensorProto.FLOAT, None)])
            kept.append(g.add("If", ["use_cache_branch"], [f"present.{layer}.{kind}"], then_branch=then, else_branch=first))
        scores = g.add("MatMul", [q, g.add("Transpose", [kept[0]], perm=[0, 1, 3, 2])])
        scores = g.add("Add", [g.add("Mul", [scores, g.constant(0.25, np.float32)]), bias])
        attended = g.add("MatMul", [g.add("Softmax", [scores], axis=-1), kept[1]])
        attended = g.add("Reshape", [g.add("Transpose", [attended], perm=[0, 2, 1, 3]), g.constant([0, 0, 32])])
        x = g.add("Add", [x, g.linear(attended, f"transformer.h.{layer}.attn.c_proj", 32, 32)])
        up = g.add("Relu", [g.linear(x, f"transformer.h.{layer}.mlp.c_fc", 32, 64)])
        x = g.add("Add", [x, g.linear(up, f"transformer.h.{layer}.mlp.c_proj", 64, 32)])
    g.add("MatMul", [x, g.weight("lm_head.weight", 32, VOCAB)], ["logits"])
    save(out / "merged", g, ["input_ids", "attention_mask", "use_cache_branch"], 18, heads=2)


def save(target, g, inputs, opset, heads=1):
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    info = helper.make_tensor_value_info
    shapes = {
        "input_ids": (TensorProto.INT64, ["batch", "sequence"]), "position_ids": (TensorProto.INT64, ["batch", "sequence"]),
        "attention_mask": (TensorProto.INT64, ["batch", "total"]), "use_cache_branch": (TensorProto.BOOL, [1]),
    }
    kinds = [(layer, kind) for layer in range(2) for kind in ("key", "value")]
    cache = lambda word, length: [
        info(f"{word}.{layer}.{kind}", TensorProto.FLOAT, ["batch", heads, length, 16]) for layer, kind in kinds
    ]
    graph = helper.make_graph(
        g.nodes, "decoder", [info(name, *shapes[name]) for name in inputs] + cache("past_key_values", "past"),
        [info("logits", TensorProto.FLOAT, ["batch", "sequence", VOCAB])] + cache("present", "total"), g.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)], producer_name="onnx.helper", ir_version=10)
    onnx.save(model, target / "model.onnx")
    golden(target)


def keep(folder, names):
    """Leaves graphs, weights and the files of these names."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not (path.name in names or ".onnx" in path.name):
            path.unlink()


def golden(folder):
    """Runs the graph with whole new tensors for every step: no buffer is shared with anything."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    inputs = {one.name: one for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]
    caches = [one for one in session.get_inputs() if len(one.shape) >= 4]
    ids_name = "tokens" if "tokens" in inputs else "input_ids"
    # Some graphs leave the size of a head open.
    past = [np.zeros([1, one.shape[1], 0, HEAD], TYPES[one.type]) for one in caches]
    text, ids, rows = list(PROMPT), [], []
    step = list(PROMPT)
    while len(ids) < GREEDY_TOKENS:
        length = len(text) - len(step) if caches else 0
        tokens = step if caches else text
        feed = {ids_name: np.array([tokens], np.int64)}
        if inputs[ids_name].type == "tensor(int32)":
            feed[ids_name] = feed[ids_name].astype(np.int32)
        for name, one in inputs.items():
            kind = TYPES[one.type]
            if "mask" in name:
                feed[name] = np.ones([1, len(text)], kind)
            elif "position" in name:
                feed[name] = np.arange(length, len(text), dtype=kind)[None]
            elif "use_cache" in name:
                feed[name] = np.array([length > 0])
        feed |= {one.name: array for one, array in zip(caches, past)}
        found = dict(zip(names, session.run(None, feed)))
        logits = found.pop("logits", None)
        logits = found.pop(names[0]) if logits is None else logits
        past = list(found.values())
        row = logits[0, -1].astype(np.float32)
        rows.append([float(f"{value:.7g}") for value in row])
        ids.append(int(row.argmax()))
        text.append(ids[-1])
        step = [ids[-1]]
    (folder / "golden.json").write_text(json.dumps({"prompt": PROMPT, "ids": ids, "logits": rows}, separators=(",", ":")))
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder.name}: {size} bytes, inputs {[(n, o.type, o.shape) for n, o in inputs.items()][:4]}, outputs {names[:3]}, ids {ids}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--only", default="genai,hand,optimum")
    parser.add_argument("--family", default="")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    only = arguments.only.split(",")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if "hand" in only:
        attention_23(arguments.output)
        merged(arguments.output)
        dynamo(arguments.output)
    if "optimum" in only:
        optimum(arguments.output)
    if "genai" in only:
        genai(arguments.output, arguments.family)


if __name__ == "__main__":
    main()
