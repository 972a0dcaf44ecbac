#!/usr/bin/env python3
"""Makes the checkpoints that `edgebench import` is tested with, and what transformers computes of them.

    pip install -r scripts/requirements.txt
    python scripts/import_goldens.py tests/fixtures/import

One small checkpoint with random weights for each family, saved by transformers as it saves any other, in the type given below,
and beside it golden.json: a prompt, the logits after it and after each of 32 greedy tokens, in fp32 on the CPU. The weights are
large enough for every part of the model to be heard in the logits: norms and biases are random too. The same versions give
the same files.
"""

import argparse
import json
import math
import shutil
import sys
from pathlib import Path

import torch
import transformers

GREEDY_TOKENS = 32
PROMPT_TOKENS = 24

# Dimensions that most of them share.
SMALL = dict(
    vocab_size=128, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=128, pad_token_id=None, bos_token_id=0, eos_token_id=1,
)

# Frequencies of all three kinds: kept, blended, and divided.
LLAMA3_ROPE = dict(
    rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=32,
)

# family: (configuration, type of the weights in the file, options of save_pretrained)
FAMILIES = {
    "gpt2": (
        lambda: transformers.GPT2Config(
            vocab_size=128, n_positions=64, n_embd=64, n_layer=2, n_head=4, n_inner=128, bos_token_id=0, eos_token_id=1
        ),
        torch.float16,
        {},
    ),
    "llama": (
        lambda: transformers.LlamaConfig(**SMALL, rope_parameters=LLAMA3_ROPE, tie_word_embeddings=False),
        torch.bfloat16,
        {},
    ),
    "smollm2": (
        # Three query heads for each key head, and logits that are no whole number of 64 rows.
        lambda: transformers.LlamaConfig(
            **SMALL | dict(
                vocab_size=130, hidden_size=96, num_attention_heads=6, num_key_value_heads=2, num_hidden_layers=1
            ),
            tie_word_embeddings=True,
        ),
        torch.bfloat16,
        {},
    ),
    "mistral": (
        # The window is shorter than the longest sequence, and longer than the golden.
        lambda: transformers.MistralConfig(**SMALL, sliding_window=64, tie_word_embeddings=False),
        torch.bfloat16,
        {"max_shard_size": "100KB"},
    ),
    "qwen3": (
        # Heads are wider than an even share of the stream.
        lambda: transformers.Qwen3Config(**SMALL, head_dim=32, tie_word_embeddings=True),
        torch.float16,
        {},
    ),
    "mixtral": (
        lambda: transformers.MixtralConfig(
            **SMALL | dict(intermediate_size=32), num_local_experts=4, num_experts_per_tok=2, tie_word_embeddings=False
        ),
        torch.bfloat16,
        {},
    ),
    "olmoe": (
        lambda: transformers.OlmoeConfig(
            **SMALL | dict(intermediate_size=32, num_hidden_layers=1),
            num_experts=5, num_experts_per_tok=3, norm_topk_prob=False, tie_word_embeddings=False,
        ),
        torch.float32,
        {},
    ),
    "qwen3_moe": (
        lambda: transformers.Qwen3MoeConfig(
            **SMALL, head_dim=32, moe_intermediate_size=32, num_experts=4, num_experts_per_tok=2, norm_topk_prob=True,
            tie_word_embeddings=True,
        ),
        torch.float16,
        {},
    ),
    "granitemoe": (
        lambda: transformers.GraniteMoeConfig(
            **SMALL | dict(intermediate_size=32), num_local_experts=4, num_experts_per_tok=2, embedding_multiplier=6.0,
            attention_multiplier=0.4, residual_multiplier=0.3, logits_scaling=3.0, tie_word_embeddings=True,
        ),
        torch.bfloat16,
        {},
    ),
}


def randomise(model, seed):
    """Weights with which each part of the model matters."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda like: torch.randn(like.shape, generator=generator)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                table = name.endswith(("wte.weight", "wpe.weight", "embed_tokens.weight", "lm_head.weight"))
                gain = 1.0 if table else 0.9
                inputs = parameter.shape[0] if "c_" in name.split(".")[-2] else parameter.shape[-1]
                parameter.copy_(normal(parameter) * gain / math.sqrt(inputs))
            elif "bias" in name:
                parameter.copy_(normal(parameter) * 0.2)
            else:
                parameter.copy_(1.0 + normal(parameter) * 0.2)


def rounded(values):
    """Seven digits: more than is compared."""
    return [float(f"{value:.7g}") for value in values]


@torch.no_grad()
def golden(model, vocabulary, seed):
    """Greedy tokens after a random prompt, and the logits that they are chosen from."""
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.randint(2, vocabulary, (1, PROMPT_TOKENS), generator=generator)
    past, read, logits, ids = None, prompt, [], []
    for _ in range(GREEDY_TOKENS + 1):
        output = model(input_ids=read, past_key_values=past, use_cache=True)
        past, last = output.past_key_values, output.logits[0, -1]
        logits.append(rounded(last.tolist()))
        ids.append(int(last.argmax()))
        read = torch.tensor([[ids[-1]]])
    return {"prompt": prompt[0].tolist(), "logits": logits, "ids": ids}


def make(family, folder, seed):
    """A checkpoint and its golden; returns the bytes of the folder."""
    config, kind, options = FAMILIES[family]
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config())
    randomise(model, seed)
    model.to(kind).save_pretrained(folder, **options)
    (folder / "generation_config.json").unlink(missing_ok=True)
    # From the files: what they hold is what is compared.
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    text = json.dumps(golden(model, model.config.vocab_size, seed + 1), separators=(",", ":"))
    (folder / "golden.json").write_text(text + "\n")
    return sum(file.stat().st_size for file in folder.iterdir())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to make one folder for each family")
    parser.add_argument("--only", choices=FAMILIES, help="make one of them")
    arguments = parser.parse_args()
    for place, family in enumerate(FAMILIES):
        if arguments.only in (None, family):
            size = make(family, arguments.folder / family, 1000 * (place + 1))
            print(f"{family}: {size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
