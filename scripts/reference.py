#!/usr/bin/env python3
"""Holds exported models to PyTorch and transformers, on the CPU.

    pip install -r scripts/requirements.txt
    edgebench export tiny-gpt2 --form fused --precision fp32 -o out/tiny-gpt2
    python scripts/reference.py check out/tiny-gpt2
    python scripts/reference.py golden out/tiny-* -o models/golden
    edgebench export tiny-gpt2 --precision int4 --activations fp32 -o out/tiny-gpt2-int4
    python scripts/reference.py golden out/tiny-gpt2-int4 -o models/golden
    edgebench export tiny-gpt2 --precision fp32 --kv-cache int8 -o out/tiny-gpt2-kv8
    python scripts/reference.py golden out/tiny-gpt2-kv8 -o models/golden
    edgebench export dense-120m --precision fp32 -o out/dense-120m
    python scripts/reference.py logits out/dense-120m -o models/logits
    python scripts/reference.py stats out/tiny-gpt2
    python scripts/reference.py gradients out/tiny-moe-gpt2 out/tiny-moe-llama out/tiny-specialists

Only the weights are taken from the export, by name; of quantised ones, what they stand for. The arithmetic is that of transformers' own classes, built from
models/<name>.json: GPT-2, Llama, Qwen3, Mixtral; for Mixture-of-Experts layers on a GPT-2 trunk, GPT-2 with Mixtral's
block in place of its MLP; for the mixture of specialists, several GPT-2 models and the router written out here. Of a cache in
int8, keys and values are rounded to what the cache can hold wherever they are read.
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

# The official packages of ONNX Runtime 1.31 collect telemetry unless told not to, before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy
import onnx
import onnx.numpy_helper
import onnxruntime
import torch
import transformers
from torch.nn import functional
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.models.gpt2 import modeling_gpt2
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock, MixtralTopKRouter, repeat_kv

SPECS = Path(__file__).resolve().parent.parent / "models"
SEED = 42

# ------------------------------------------------------------------------------------------------ the exported files


class Export:
    """An exported model: its spec and, by name, its weights."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.path = self.folder / "model.onnx"
        model = onnx.load(str(self.path), load_external_data=False)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        self.name = metadata["edgebench.model"]
        self.form = metadata["edgebench.form"]
        # fp32, or for example int4-fp32: 4-bit weights, and fp32 for everything else.
        self.precision = metadata["edgebench.precision"]
        self.context = int(metadata["edgebench.context"])
        self.spec = json.loads((SPECS / f"{self.name}.json").read_text())
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        # What one step of a cached key or value in int8 stands for; None where the cache is floating point.
        self.kv_scale = float(self.stored("kv_scale")[0]) if "kv_scale" in self.tensors else None

    def __getitem__(self, name):
        """A weight as fp32. The plain form has experts apart: they are stacked."""
        if name not in self.tensors and f"{name}.0" in self.tensors:
            count = sum(other.startswith(f"{name}.") for other in self.tensors)
            return torch.stack([self[f"{name}.{index}"] for index in range(count)])
        if name not in self.tensors:
            return self.dequantized(name)
        return torch.from_numpy(numpy.array(self.stored(name), dtype=numpy.float32))

    def stored(self, name):
        return onnx.numpy_helper.to_array(self.tensors[name], base_dir=str(self.folder))

    def dequantized(self, name):
        """What a quantised weight stands for: (number - zero point) * scale of its block, in the shape of the weight in fp32."""
        # An embedding that is not the head is there as the rows that are looked up, and nothing else.
        view = "" if f"{name}.q" in self.tensors else ".rows"
        packed, scales = (self.stored(f"{name}.{part}{view}") for part in ("q", "scales"))
        bits = int(re.match(r"int(\d+)-", self.precision)[1])
        if bits == 4:
            # Two to a byte, the first in its low half.
            packed = numpy.stack([packed & 0xF, packed >> 4], axis=-1)
        blocks = packed.reshape(*scales.shape, 32).astype(numpy.float32) - 2.0 ** (bits - 1)
        values = (blocks * scales.astype(numpy.float32)[..., None]).reshape(*scales.shape[:-1], -1)
        if re.search(r"(^|\.)(wte|head\.weight)$", name):
            # Rows beyond the vocabulary fill the matrix up.
            values = values[: self.spec["vocab"]]
        elif not re.search(r"\.experts\.", name):
            # A linear layer is stored by outputs where it is quantised, by inputs where it is not.
            values = values.T
        return torch.from_numpy(numpy.ascontiguousarray(values))


# ------------------------------------------------------------------------------------------------ the torch models


class SharesOfAllRouter(MixtralTopKRouter):
    """The chosen experts' shares of the softmax over all experts, not renormalised over the chosen."""

    def forward(self, hidden_states):
        logits = functional.linear(hidden_states.reshape(-1, self.hidden_dim), self.weight)
        scores, chosen = torch.topk(functional.softmax(logits, dim=-1), self.top_k, dim=-1)
        return logits, scores, chosen


class GptWithExperts(transformers.GPT2LMHeadModel):
    """GPT-2 with a top-k Mixture of Experts in place of each MLP."""

    def __init__(self, config, experts):
        super().__init__(config)
        for block in self.transformer.h:
            block.mlp = MixtralSparseMoeBlock(experts)


def int8_cache_attention(module, query, key, value, attention_mask, **options):
    """Attention that reads keys and values as an int8 cache holds them: rounded to the nearest step, clipped at its ends."""
    scale = module.config.kv_scale
    key, value = (scale * (states / scale).round().clamp(-128, 127) for states in (key, value))
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    return modeling_gpt2.eager_attention_forward(module, query, key, value, attention_mask, **options)


transformers.AttentionInterface.register("int8_cache", int8_cache_attention)
AttentionMaskInterface.register("int8_cache", eager_mask)


def build(export):
    """The torch model of an export: a module from ids `[B, S]` to logits `[B, S, V]`."""
    spec = export.spec
    if spec.get("specialists"):
        return Mixture(export).eval()
    return Single(export, "").eval()


class Single(torch.nn.Module):
    """One decoder of transformers, with the weights that start with `prefix`."""

    def __init__(self, export, prefix):
        super().__init__()
        spec = export.spec
        gpt2 = spec["norm"]["kind"] == "layer_norm"
        self.model = (build_gpt2 if gpt2 else build_llama)(spec)
        state = (gpt2_state if gpt2 else llama_state)(export, prefix)
        # Strict: a weight that either side lacks is an error.
        self.model.load_state_dict(state, strict=True)
        if export.kv_scale is not None:
            self.model.config.kv_scale = export.kv_scale
            self.model.set_attn_implementation("int8_cache")

    def forward(self, ids):
        return self.model(input_ids=ids, use_cache=False).logits


class Mixture(torch.nn.Module):
    """Whole specialists; a router on the first one's token embedding weighs their logits."""

    def __init__(self, export):
        super().__init__()
        design = export.spec["specialists"]
        self.threshold = design["threshold"]
        self.specialists = torch.nn.ModuleList(Single(export, f"s{index}.") for index in range(design["count"]))
        self.inner = torch.nn.Linear(export.spec["d_model"], design["router_hidden"])
        self.outer = torch.nn.Linear(design["router_hidden"], design["count"])
        for layer, name in ((self.inner, "fc"), (self.outer, "out")):
            weight, bias = export[f"router.{name}.weight"].T, export[f"router.{name}.bias"]
            layer.load_state_dict({"weight": weight, "bias": bias})

    def shares(self, ids):
        embedded = self.specialists[0].model.transformer.wte(ids)
        return functional.softmax(self.outer(functional.relu(self.inner(embedded))), dim=-1)

    def forward(self, ids):
        shares = self.shares(ids)
        kept = torch.where(shares < self.threshold, 0.0, shares)
        kept = kept / (kept.sum(dim=-1, keepdim=True) + 1e-8)
        positions = torch.arange(1, ids.shape[1] + 1, dtype=kept.dtype)
        mean = kept.cumsum(dim=1) / positions[None, :, None]
        logits = torch.stack([specialist(ids) for specialist in self.specialists], dim=-1)
        return (logits * mean[:, :, None, :]).sum(dim=-1)


def experts_config(spec):
    ffn = spec["ffn"]
    return transformers.MixtralConfig(
        hidden_size=spec["d_model"],
        intermediate_size=ffn["d_ff"],
        num_local_experts=ffn["experts"],
        num_experts_per_tok=ffn["top_k"],
        experts_implementation="eager",
    )


def set_routers(model, spec):
    if spec["ffn"]["kind"] == "moe" and not spec["ffn"]["normalize"]:
        for module in model.modules():
            if type(module) is MixtralTopKRouter:
                module.__class__ = SharesOfAllRouter
    return model


def build_gpt2(spec):
    assert spec["bias"] and not spec["qk_norm"] and spec["position"]["kind"] == "learned", spec["name"]
    assert spec["n_heads"] == spec["n_kv_heads"] and spec["n_heads"] * spec["head_dim"] == spec["d_model"], spec["name"]
    assert spec["ffn"]["kind"] in ("gelu", "moe"), spec["name"]
    config = transformers.GPT2Config(
        vocab_size=spec["vocab"],
        n_positions=spec["max_positions"],
        n_embd=spec["d_model"],
        n_layer=spec["n_layers"],
        n_head=spec["n_heads"],
        n_inner=spec["ffn"]["d_ff"],
        layer_norm_epsilon=spec["norm"]["epsilon"],
        activation_function="gelu_new",
        tie_word_embeddings=spec["tied_head"],
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    if spec["ffn"]["kind"] == "moe":
        return set_routers(GptWithExperts(config, experts_config(spec)), spec)
    return transformers.GPT2LMHeadModel(config)


def build_llama(spec):
    assert not spec["bias"] and spec["position"]["kind"] == "rotary", spec["name"]
    moe, qk_norm = spec["ffn"]["kind"] == "moe", spec["qk_norm"]
    assert not (moe and qk_norm), spec["name"]
    common = dict(
        vocab_size=spec["vocab"],
        max_position_embeddings=spec["max_positions"],
        hidden_size=spec["d_model"],
        intermediate_size=spec["ffn"]["d_ff"],
        num_hidden_layers=spec["n_layers"],
        num_attention_heads=spec["n_heads"],
        num_key_value_heads=spec["n_kv_heads"],
        head_dim=spec["head_dim"],
        rms_norm_eps=spec["norm"]["epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": spec["position"]["theta"]},
        tie_word_embeddings=spec["tied_head"],
        hidden_act="silu",
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    if moe:
        config = transformers.MixtralConfig(
            **common,
            num_local_experts=spec["ffn"]["experts"],
            num_experts_per_tok=spec["ffn"]["top_k"],
            experts_implementation="eager",
        )
        return set_routers(transformers.MixtralForCausalLM(config), spec)
    if qk_norm:
        return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**common))
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**common))


def experts_state(export, source, target):
    """Our rows of gate and up alternate; Mixtral has all of gate, then all of up."""
    packed = export[f"{source}experts.fc1"]
    return {
        f"{target}mlp.gate.weight": export[f"{source}router.weight"].T,
        f"{target}mlp.experts.gate_up_proj": torch.cat([packed[:, 0::2], packed[:, 1::2]], dim=1),
        f"{target}mlp.experts.down_proj": export[f"{source}experts.fc2"],
    }


def gpt2_state(export, prefix):
    spec, state = export.spec, {}

    def both(target, source):
        for part in ("weight", "bias"):
            state[f"{target}.{part}"] = export[f"{prefix}{source}.{part}"]

    state["transformer.wte.weight"] = export[f"{prefix}wte"]
    state["transformer.wpe.weight"] = export[f"{prefix}wpe"]
    for layer in range(spec["n_layers"]):
        target, source = f"transformer.h.{layer}.", f"l{layer}."
        both(f"{target}ln_1", f"{source}attn_norm")
        both(f"{target}attn.c_attn", f"{source}qkv")
        both(f"{target}attn.c_proj", f"{source}o")
        both(f"{target}ln_2", f"{source}ffn_norm")
        if spec["ffn"]["kind"] == "moe":
            state.update(experts_state(export, prefix + source, target))
        else:
            both(f"{target}mlp.c_fc", f"{source}fc")
            both(f"{target}mlp.c_proj", f"{source}proj")
    both("transformer.ln_f", "final_norm")
    state["lm_head.weight"] = export[f"{prefix}wte" if spec["tied_head"] else f"{prefix}head.weight"]
    return state


def llama_state(export, prefix):
    spec, state = export.spec, {}
    query, key_value = spec["n_heads"] * spec["head_dim"], spec["n_kv_heads"] * spec["head_dim"]
    state["model.embed_tokens.weight"] = export[f"{prefix}wte"]
    for layer in range(spec["n_layers"]):
        target, source = f"model.layers.{layer}.", f"{prefix}l{layer}."
        state[f"{target}input_layernorm.weight"] = export[f"{source}attn_norm.weight"]
        packed = export[f"{source}qkv.weight"].split([query, key_value, key_value], dim=1)
        for part, weight in zip("qkv", packed):
            state[f"{target}self_attn.{part}_proj.weight"] = weight.T
        if spec["qk_norm"]:
            for part in "qk":
                state[f"{target}self_attn.{part}_norm.weight"] = export[f"{source}{part}_norm.weight"]
        state[f"{target}self_attn.o_proj.weight"] = export[f"{source}o.weight"].T
        state[f"{target}post_attention_layernorm.weight"] = export[f"{source}ffn_norm.weight"]
        if spec["ffn"]["kind"] == "moe":
            state.update(experts_state(export, source, target))
        else:
            for part in ("gate", "up", "down"):
                state[f"{target}mlp.{part}_proj.weight"] = export[f"{source}{part}.weight"].T
    state["model.norm.weight"] = export[f"{prefix}final_norm.weight"]
    state["lm_head.weight"] = export[f"{prefix}wte" if spec["tied_head"] else f"{prefix}head.weight"]
    return state


class RouterLogits:
    """Collects the router logits of each Mixture-of-Experts layer while it is open."""

    def __init__(self, model):
        self.routers = [module for module in model.modules() if isinstance(module, MixtralTopKRouter)]
        self.logits = [[] for _ in self.routers]

    def __enter__(self):
        def keep(seen):
            return lambda module, inputs, output: seen.append(output[0].detach().reshape(-1, module.num_experts))

        self.hooks = [router.register_forward_hook(keep(seen)) for router, seen in zip(self.routers, self.logits)]
        return self

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()


# ------------------------------------------------------------------------------------------------ golden

PROMPT, STEPS = 24, 8
# Below these, a comparison at lower precision could differ by a tie and not by a mistake.
GAPS = {"top": 2e-2, "routing": 1e-2, "threshold": 2e-3}
# With quantised weights the CPU provider rounds activations to 8 bits: logits are then off by some percent of the largest. With a
# cache in int8 the CUDA provider reads the keys and values of a first prompt as they were: it differs by what rounding them costs.
QUANTIZED_GAPS = {"top": 0.25, "routing": 0.1, "threshold": 2e-3}
# Logits of a mixture are means of several models' and smaller, as is what they are off by.
MIXTURE_TOP_GAP = 0.15
# A text that repeats one token would hide mistakes in positions and cache.
DISTINCT = 4


def prompt_ids(vocabulary, length, constant):
    """Fixed ids in [2, vocabulary)."""
    return [2 + ((index + 1) * (index + 1) * constant + 31 * index) % (vocabulary - 2) for index in range(length)]


def routing_gap(model, ids):
    """How near any token came to another choice of experts: k-th against (k+1)-th router logit; None without experts."""
    with RouterLogits(model) as seen:
        model(ids)
    gaps = []
    for router, logits in zip(seen.routers, seen.logits):
        ranked = torch.cat(logits).sort(dim=-1, descending=True).values
        if router.top_k < ranked.shape[1]:  # one that takes every expert has no next one
            gaps.append((ranked[:, router.top_k - 1] - ranked[:, router.top_k]).min().item())
    return min(gaps, default=None)


def step_gaps(model, ids, before):
    """Greedy text after a prompt: its ids and logits, and how near it came to another one; ends early where that is too near."""
    rows, chosen, gaps = [], [], {"top": float("inf")}
    for _ in range(STEPS):
        # The whole sequence each time: no cache whose mistakes could be ours too.
        row = model(torch.tensor([ids + chosen]))[0, -1]
        best = row.topk(2)
        gaps["top"] = min(gaps["top"], (best.values[0] - best.values[1]).item())
        if gaps["top"] <= before["top"]:
            return None
        rows.append(row.tolist())
        chosen.append(best.indices[0].item())
    gaps.update(choice_gaps(model, ids + chosen[:-1]))
    return None if is_near(gaps, before) or len(set(chosen)) < DISTINCT else (rows, chosen, gaps)


def choice_gaps(model, ids):
    """How near any token came to another choice of experts or specialists."""
    gaps = {"routing": routing_gap(model, torch.tensor([ids]))}
    if isinstance(model, Mixture):
        gaps["threshold"] = (model.shares(torch.tensor([ids])) - model.threshold).abs().min().item()
    return gaps


def is_near(gaps, least):
    return any(gaps.get(name) is not None and gaps[name] <= bound for name, bound in least.items())


def prompts(model, vocabulary, quantized):
    """Prompts to try, one after the other."""
    if not quantized:
        yield from (prompt_ids(vocabulary, PROMPT, constant) for constant in range(1, 1000))
        return
    # Ids that keep clear of another choice, each after those before it; the last two are searched for.
    for constant in range(1, 100):
        ids = []
        for wanted in prompt_ids(vocabulary, PROMPT - 2, constant):
            others = (2 + (wanted - 2 + more) % (vocabulary - 2) for more in range(vocabulary - 2))
            ids.append(next(other for other in others if not is_near(choice_gaps(model, ids + [other]), QUANTIZED_GAPS)))
        for index in range((vocabulary - 2) ** 2):
            yield ids + [2 + (index + index // (vocabulary - 2)) % (vocabulary - 2), 2 + index // (vocabulary - 2)]


def golden(args):
    args.output.mkdir(parents=True, exist_ok=True)
    for folder in args.folders:
        export = Export(folder)
        model = build(export).double()
        quantized = export.precision.startswith("int") or export.kv_scale is not None
        gaps = QUANTIZED_GAPS if quantized else GAPS
        if export.kv_scale is not None and export.spec.get("specialists"):
            gaps = {**gaps, "top": MIXTURE_TOP_GAP}
        for ids in prompts(model, export.spec["vocab"], quantized):
            if found := step_gaps(model, ids, gaps):
                break
        else:
            sys.exit(f"{export.name}: no prompt keeps clear of ties and of one repeated token")
        rows, chosen, gaps = found
        weights, _, rest = export.precision.partition("-")
        kind = (f".{weights}" if rest else "") + (".kv8" if export.kv_scale is not None else "")
        write_golden(args.output / f"{export.name}{kind}.json", export, ids, rows, chosen)
        shown = ", ".join(f"{name} gap {gap:.3g}" for name, gap in gaps.items() if gap is not None)
        print(f"{export.name}{kind}: {shown}, {len(set(chosen))} distinct of {len(chosen)} ids")


def write_golden(path, export, ids, rows, chosen):
    lines = ["[" + ",".join(f"{value:.8g}" for value in row) + "]" for row in rows]
    versions = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
    text = [
        "{",
        f'"model": "{export.name}",',
        f'"source": "scripts/reference.py, {versions}",',
        f'"seed": {SEED},',
        f'"prompt": {json.dumps(ids)},',
        f'"ids": {json.dumps(chosen)},',
        '"logits": [',
        ",\n".join(lines),
        "]",
        "}",
    ]
    path.write_text("\n".join(text) + "\n")


# ------------------------------------------------------------------------------------------------ logits

# Ids of the fixed text; how many of its last positions are told; how many ids of the vocabulary are told of each.
TEXT_IDS, TOLD, SAMPLED = 32, 16, 64
# A tie that fp32 arithmetic in another order could break otherwise would be no error of rounding.
TEXT_GAPS = {"top": 1e-3, "routing": 1e-4, "threshold": 1e-4}


def text_gaps(model, ids, told):
    """How near a text came to another top id where it is told, and to another choice of experts or specialists anywhere."""
    best = told.topk(2, dim=-1).values
    return {"top": (best[:, 0] - best[:, 1]).min().item(), **choice_gaps(model, ids)}


def logits(args):
    args.output.mkdir(parents=True, exist_ok=True)
    for folder in args.folders:
        export = Export(folder)
        if export.precision != "fp32" or export.kv_scale is not None:
            sys.exit(f"{folder}: the reference is of fp32; export it with --precision fp32")
        model, vocabulary = build(export), export.spec["vocab"]
        # Evenly spread over the whole vocabulary, so that their error stands for that of all.
        sampled = [vocabulary * index // SAMPLED for index in range(SAMPLED)]
        for constant in range(1, 100):
            ids = prompt_ids(vocabulary, TEXT_IDS, constant)
            told = model(torch.tensor([ids]))[0, -TOLD:]
            gaps = text_gaps(model, ids, told)
            if not is_near(gaps, TEXT_GAPS):
                break
        else:
            sys.exit(f"{export.name}: no text keeps clear of ties")
        write_logits(args.output / f"{export.name}.json", export, ids, sampled, told)
        shown = ", ".join(f"{name} gap {gap:.3g}" for name, gap in gaps.items() if gap is not None)
        print(f"{export.name}: text {constant}, {shown}, {told.argmax(dim=-1).unique().numel()} distinct top ids of {TOLD}", flush=True)


def write_logits(path, export, ids, sampled, told):
    rows = ["[" + ",".join(f"{value:.6g}" for value in row) + "]" for row in told[:, sampled].tolist()]
    versions = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
    text = [
        "{",
        f'"model": "{export.name}",',
        f'"source": "scripts/reference.py, {versions}",',
        f'"seed": {SEED},',
        f'"text": {json.dumps(ids)},',
        f'"top": {json.dumps(told.argmax(dim=-1).tolist())},',
        f'"sampled": {json.dumps(sampled, separators=(",", ":"))},',
        '"logits": [',
        ",\n".join(rows),
        "]",
        "}",
    ]
    path.write_text("\n".join(text) + "\n")


# ------------------------------------------------------------------------------------------------ check

TYPES = {
    "tensor(float)": numpy.float32,
    "tensor(float16)": numpy.float16,
    "tensor(int8)": numpy.int8,
    "tensor(int32)": numpy.int32,
    "tensor(int64)": numpy.int64,
}


class Graph:
    """An exported graph in ONNX Runtime, and the cache of the sequence so far."""

    def __init__(self, export, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(export.path), options, providers=["CPUExecutionProvider"])
        self.shared = export.form == "fused"
        self.inputs = {value.name: value for value in self.session.get_inputs()}
        self.outputs = [value.name for value in self.session.get_outputs()]
        self.reset()

    def reset(self):
        self.length = 0
        self.caches = {}
        for name, value in self.inputs.items():
            if name.startswith("past_"):
                shape = [size if isinstance(size, int) else 1 for size in value.shape]
                if not self.shared:
                    shape[value.shape.index("past")] = 0
                # A shared cache holds rubbish beyond the sequence, which must not show.
                array = numpy.full(shape, 100.0, TYPES[value.type])
                self.caches[name] = onnxruntime.OrtValue.ortvalue_from_numpy(array)

    def largest_cached(self):
        """The largest magnitude among the keys and values of the sequence, as they are stored."""
        arrays = (array.numpy()[:, :, : self.length] for name, array in self.caches.items() if "key" in name or "value" in name)
        return max(numpy.abs(array.astype(numpy.float64)).max() for array in arrays)

    def __call__(self, ids):
        """Appends ids to the sequence; returns the last position's logits and the greedy id."""
        count, total = len(ids), self.length + len(ids)
        feeds = {
            "input_ids": [ids],
            "position_ids": [list(range(self.length, total))],
            "attention_mask": [[1] * total],
            "seqlens_k": [total - 1],
            "total_sequence_length": [total],
        }
        binding = self.session.io_binding()
        for name, value in self.inputs.items():
            if name in feeds:
                binding.bind_cpu_input(name, numpy.array(feeds[name], TYPES[value.type]))
            else:
                binding.bind_ortvalue_input(name, self.caches[name])
        for name in self.outputs:
            past = name.replace("present.", "past_key_values.").replace("present_", "past_")
            if self.shared and past in self.caches:
                binding.bind_ortvalue_output(name, self.caches[past])
            else:
                binding.bind_output(name)
        self.session.run_with_iobinding(binding)
        results = dict(zip(self.outputs, binding.get_outputs()))
        self.length += count
        if not self.shared:
            for past in self.caches:
                present = past.replace("past_key_values.", "present.").replace("past_", "present_")
                self.caches[past] = results[present]
        return results["logits"].numpy()[0, 0].astype(numpy.float64), int(results["next_ids"].numpy()[0, 0])


def pieces(total):
    """Uneven lengths, a single token among them."""
    sizes, size = [], 1
    while sum(sizes) < total:
        sizes.append(min(size, total - sum(sizes)))
        size = size * 2 + 1 if size < 16 else 5
    return sizes


def check(args):
    worst = 0.0
    print(f"{'model':<18} {'form':<6} {'way':<24} {'logits':>6} {'worst error':>12} {'at token':>9} {'same greedy id':>15}")
    for folder in args.folders:
        export = Export(folder)
        tokens = min(args.tokens, export.context)
        ids = prompt_ids(export.spec["vocab"], tokens, 7)
        with torch.no_grad():
            expected = build(export)(torch.tensor([ids]))[0].double().numpy()
        graph = Graph(export, args.threads)
        ways = {"prefill in one": [tokens], "prefill in pieces": pieces(tokens), "token by token": [1] * tokens}
        for way, sizes in ways.items():
            graph.reset()
            at, errors, same = 0, [], 0
            for size in sizes:
                logits, greedy = graph(ids[at : at + size])
                at += size
                want = expected[at - 1]
                # A NaN must be the worst error, not one that every comparison lets through.
                error = numpy.abs(logits - want).max() / numpy.abs(want).max()
                errors.append((float("inf") if numpy.isnan(error) else error, at))
                same += greedy == int(want.argmax())
            error, place = max(errors)
            worst = max(worst, error)
            print(f"{export.name:<18} {export.form:<6} {way:<24} {len(errors):>6} {error:>12.2e} {place:>9} {same:>8} of {len(errors)}")
    if worst > args.rtol:
        print(f"worst error {worst:.2e} is above {args.rtol:.0e}")
        return 1
    return 0


# ------------------------------------------------------------------------------------------------ stats

TEXT = """The quick brown fox jumps over the lazy dog. In a hole in the ground there lived a hobbit. To be or not to be, that
is the question. All happy families are alike; each unhappy family is unhappy in its own way. It was the best of times, it was
the worst of times, it was the age of wisdom, it was the age of foolishness."""


def text_ids(vocabulary, length):
    """A text laid end to end: words and punctuation, hashed into the vocabulary (FNV-1a)."""
    ids = []
    for token in re.findall(r"\w+|[^\w\s]", TEXT.lower()):
        value = 0xCBF29CE484222325
        for byte in token.encode():
            value = (value ^ byte) * 0x100000001B3 % 2**64
        ids.append(2 + value % (vocabulary - 2))
    return (ids * (length // len(ids) + 1))[:length]


def stats(args):
    """Are the activations and the routing of the seeded weights sane?"""
    for folder in args.folders:
        export = Export(folder)
        room = export.context - args.decode
        ids = text_ids(export.spec["vocab"], min(args.tokens, room))
        print(f"{export.name}: {len(ids)} tokens of text, {len(set(ids))} distinct")
        model = build(export)
        largest = {}

        def watch(module, name):
            def keep(_, inputs, output):
                value = output[0] if isinstance(output, tuple) else output
                largest[name] = max(largest.get(name, 0.0), value.abs().max().item())

            module.register_forward_hook(keep)

        for name, module in model.named_modules():
            if re.search(r"(\.(h|layers)\.\d+(\.(attn|self_attn|mlp))?|c_attn|c_fc|act|lm_head)$", name):
                watch(module, name)
        with torch.no_grad(), RouterLogits(model) as routers:
            logits = model(torch.tensor([ids]))[0]
        print(f"  largest activation {max(largest.values()):.2f}; logits: sd {logits.std().item():.3f}, largest {logits.abs().max().item():.2f}")
        layers = {}
        for name, value in largest.items():
            match = re.match(r"(.*\.(?:h|layers)\.\d+)\.?(.*)", name)
            if match:
                layers.setdefault(match[1], {})[match[2] or "residual"] = value
        for name, values in layers.items():
            print(f"  {name}: " + ", ".join(f"{part} {value:.2f}" for part, value in values.items()))
        for layer, (router, seen) in enumerate(zip(routers.routers, routers.logits)):
            chosen = torch.cat(seen).topk(router.top_k, dim=-1).indices.flatten()
            share = torch.bincount(chosen, minlength=router.num_experts).double() / chosen.numel()
            bits = -(share[share > 0] * share[share > 0].log2()).sum().item()
            print(
                f"  layer {layer}: share of the choices per expert {share.min():.1%} to {share.max():.1%} (even {1 / router.num_experts:.1%}),"
                f" entropy {bits:.2f} of {numpy.log2(router.num_experts):.2f} bits"
            )
        if isinstance(model, Mixture):
            with torch.no_grad():
                shares = model.shares(torch.tensor([ids]))[0]
            print(f"  mean router share of each specialist: {[round(share, 3) for share in shares.mean(dim=0).tolist()]}")
        graph, generated = Graph(export, args.threads), []
        _, token = graph(ids)
        for _ in range(args.decode):
            generated.append(token)
            _, token = graph([token])
        print(f"  largest cached key or value {graph.largest_cached():.2f}, of what one scale makes 8 bits of up to 6")
        print(f"  greedy: {len(set(generated))} distinct of {len(generated)} ids, {len(set(generated[-32:]))} in the last 32")


# ------------------------------------------------------------------------------------------------ gradients


def flow(parameters):
    """The largest gradient, 0 where there is none."""
    return max(0.0 if value.grad is None else value.grad.abs().max().item() for value in parameters)


def moe_flow(model, routers):
    """What is wrong with the gradients of experts and routers: those that were chosen have some, the others none at all."""
    blocks = [module for module in model.modules() if isinstance(module, MixtralSparseMoeBlock)]
    for layer, (block, seen) in enumerate(zip(blocks, routers.logits, strict=True)):
        router, experts = block.gate, block.experts
        chosen = set(torch.cat(seen).topk(router.top_k, dim=-1).indices.flatten().tolist())
        if flow([router.weight]) == 0.0:
            yield f"layer {layer}: the router has no gradient"
        for name in ("gate_up_proj", "down_proj"):
            largest = getattr(experts, name).grad.flatten(1).abs().max(dim=1).values.tolist()
            for expert, value in enumerate(largest):
                if (value > 0.0) != (expert in chosen):
                    yield f"layer {layer}: expert {expert}, {'chosen' if expert in chosen else 'not chosen'}, {name} has a gradient of {value:.1e}"
        print(f"  layer {layer}: {len(chosen)} of {router.num_experts} experts chosen, router {flow([router.weight]):.1e}")


def mixture_flow(model, ids):
    """The same of a mixture of specialists: the router and every specialist that keeps a share of some token."""
    kept = model.shares(ids)[0].amax(dim=0) > 0
    for name in ("inner", "outer"):
        if flow(getattr(model, name).parameters()) == 0.0:
            yield f"the router's {name} layer has no gradient"
    for index, specialist in enumerate(model.specialists):
        if (flow(specialist.parameters()) > 0.0) != bool(kept[index]):
            yield f"specialist {index}: share {'kept' if kept[index] else 'none'}, gradient {flow(specialist.parameters()):.1e}"
    print(f"  {int(kept.sum())} of {len(kept)} specialists keep a share, router {flow(model.inner.parameters()):.1e}")


def gradients(args):
    """Do the router and every expert that was chosen get a gradient, and the others none?"""
    wrong = []
    for folder in args.folders:
        export = Export(folder)
        model = build(export).requires_grad_(True)
        ids = torch.tensor([text_ids(export.spec["vocab"], min(args.tokens, export.context))])
        print(f"{export.name}: {ids.shape[1]} tokens")
        with torch.enable_grad(), RouterLogits(model) as routers:
            logits = model(ids)[0]
            functional.cross_entropy(logits[:-1], ids[0, 1:]).backward()
        if isinstance(model, Mixture):
            found = list(mixture_flow(model, ids))
        elif routers.routers:
            found = list(moe_flow(model, routers))
        else:
            found = ["there is no router in it; name a Mixture of Experts"]
        wrong += [f"{export.name}: {fault}" for fault in found]
    print("\n".join(wrong) or "gradients flow through every router and chosen expert, and through no other")
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("golden", help="write small golden logits (exports made with seed 42)")
    command.add_argument("folders", nargs="+", metavar="DIR")
    command.add_argument("-o", "--output", type=Path, default=SPECS / "golden", metavar="DIR")
    command.set_defaults(run=golden)
    command = commands.add_parser("logits", help="write sampled fp32 logits of a fixed text (exports in fp32 made with seed 42)")
    command.add_argument("folders", nargs="+", metavar="DIR")
    command.add_argument("-o", "--output", type=Path, default=SPECS / "logits", metavar="DIR")
    command.set_defaults(run=logits)
    command = commands.add_parser("check", help="run exported models and compare with torch; exit code 1 if they differ")
    command.add_argument("folders", nargs="+", metavar="DIR")
    command.add_argument("--tokens", type=int, default=64)
    command.add_argument("--rtol", type=float, default=1e-4, help="largest error over largest logit (default: %(default)s)")
    command.set_defaults(run=check)
    command = commands.add_parser("stats", help="activations, routing and greedy text of exported models")
    command.add_argument("folders", nargs="+", metavar="DIR")
    command.add_argument("--tokens", type=int, default=256)
    command.add_argument("--decode", type=int, default=128)
    command.set_defaults(run=stats)
    command = commands.add_parser("gradients", help="whether routers and chosen experts get gradients, and others none; exit code 1 if not")
    command.add_argument("folders", nargs="+", metavar="DIR")
    command.add_argument("--tokens", type=int, default=24)
    command.set_defaults(run=gradients)
    for command in commands.choices.values():
        command.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
