#!/usr/bin/env python3
"""How fast edgebench decodes beside eager PyTorch on a model of the same dimensions: one box, one prompt, batch 1, in turn.

    pip install torch transformers
    python benchmarks/pytorch_way.py --edgebench target/release/edgebench --device cuda

Each round starts edgebench and then each of the ways in a process of its own; each makes an untimed generation and then
--repetitions timed ones, greedy, of --prompt and --decode tokens, in fp16 on a GPU and in fp32 on the CPU. The ways:
  study    the study's: GPT-2 written with PyTorch's modules, no KV cache, so that every token runs the whole sequence (256
           tokens growing to 383) and its logits at every position, of which the last is used
  hf       the same with transformers' GPT2LMHeadModel, use_cache=False
  hf-kv    transformers' GPT2LMHeadModel with its KV cache (use_cache=True), for comparison
Weights are random; the number of parameters is checked against edgebench's. How the figures are obtained, the same everywhere:
  TTFT     the prompt's run and the first token, up to its id on the host; median over the repetitions
  ITL      every further token by itself, up to its id on the host, which synchronises
  tok/s    1 / the median of all ITLs of a round; the first token is in none of them
  mean     tokens / time of those tokens, median over the repetitions
  ratio    edgebench's tok/s / that way's in the same round; the last lines give its least, median and greatest
  other    programs' share of the processors during the round; rounds with less than 5 % are also summed up apart
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time

import in_turn

WAYS = ("study", "hf", "hf-kv")


# ---- PyTorch, in a process of its own


def plain(spec):
    """GPT-2 of these dimensions in PyTorch's own modules; called with ids, it gives the logits of every position."""
    import torch
    from torch import nn
    from torch.nn import functional

    width, heads, epsilon = spec["d_model"], spec["n_heads"], spec["norm"]["epsilon"]

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention_norm = nn.LayerNorm(width, eps=epsilon)
            self.qkv = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)
            self.ffn_norm = nn.LayerNorm(width, eps=epsilon)
            self.up = nn.Linear(width, spec["ffn"]["d_ff"])
            self.down = nn.Linear(spec["ffn"]["d_ff"], width)

        def forward(self, state):
            batch, length, _ = state.shape
            parts = self.qkv(self.attention_norm(state)).view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(*parts, is_causal=True)
            state = state + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
            return state + self.down(functional.gelu(self.up(self.ffn_norm(state)), approximate="tanh"))

    class Gpt2(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(spec["vocab"], width)
            self.positions = nn.Embedding(spec["max_positions"], width)
            self.blocks = nn.ModuleList(Block() for _ in range(spec["n_layers"]))
            self.norm = nn.LayerNorm(width, eps=epsilon)
            nn.init.normal_(self.tokens.weight, std=0.02)

        def forward(self, ids):
            state = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
            for block in self.blocks:
                state = block(state)
            return functional.linear(self.norm(state), self.tokens.weight)

    return Gpt2()


def from_transformers(spec):
    import transformers

    config = transformers.GPT2Config(
        vocab_size=spec["vocab"], n_positions=spec["max_positions"], n_embd=spec["d_model"], n_layer=spec["n_layers"],
        n_head=spec["n_heads"], n_inner=spec["ffn"]["d_ff"], layer_norm_epsilon=spec["norm"]["epsilon"])
    return transformers.GPT2LMHeadModel(config)


def steps(model, way, prompt, count):
    """Chosen ids, one after the other, each on the host when it is handed over."""
    import torch

    sequence, cache = prompt, None
    for _ in range(count):
        if way == "study":
            logits = model(sequence)
        elif way == "hf":
            logits = model(sequence, use_cache=False).logits
        else:
            answer = model(sequence[:, -1:] if cache else sequence, past_key_values=cache, use_cache=True)
            logits, cache = answer.logits, answer.past_key_values
        chosen = logits[:, -1].argmax(-1, keepdim=True)
        sequence = torch.cat([sequence, chosen], 1)
        yield int(chosen)


def generation(model, task, prompt):
    """One generation: seconds to the first token, seconds of each further one."""
    ends = [time.perf_counter()]
    for _ in steps(model, task["way"], prompt, task["decode"]):
        ends.append(time.perf_counter())
    spans = [after - before for before, after in zip(ends, ends[1:])]
    return spans[0], spans[1:]


def drive(task):
    """The process's whole life: model, one untimed generation, the timed ones; prints one JSON line."""
    in_turn.need("torch", *(["transformers"] if task["way"] != "study" else []))
    import torch

    device = task["device"]
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("this PyTorch sees no CUDA device; use --device cpu, or install a PyTorch for CUDA")
    if task["threads"]:
        torch.set_num_threads(task["threads"])
    torch.manual_seed(42)
    model = plain(task["spec"]) if task["way"] == "study" else from_transformers(task["spec"])
    count = sum(parameter.numel() for parameter in model.parameters())
    model = model.to(device, torch.float16 if device == "cuda" else torch.float32).eval()
    prompt = torch.tensor([task["prompt"]], device=device)
    with torch.inference_mode():
        generation(model, task, prompt)
        runs = [generation(model, task, prompt) for _ in range(task["repetitions"])]
    version = f"PyTorch {torch.__version__}"
    if task["way"] != "study":
        import transformers
        version += f", transformers {transformers.__version__}"
    print(json.dumps({
        "ttft_s": statistics.median(first for first, _ in runs),
        "tok_s": 1 / statistics.median(span for _, spans in runs for span in spans),
        "mean": statistics.median(len(spans) / sum(spans) for _, spans in runs),
        "parameters": count, "version": version, "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu"}))


# ---- all, in turn


def head(args, ours, theirs):
    print(f"{in_turn.machine(ours)}; {theirs['version']}; Python {platform.python_version()}")
    threads = f"threads edgebench {ours['threads']}, PyTorch {theirs['threads']}" if args.device == "cpu" else f"PyTorch on {theirs['device']}"
    print(f"{args.model}, {theirs['parameters']:,} parameters, {'fp16' if args.device == 'cuda' else 'fp32'} on {args.device}; prompt {args.prompt}, "
          f"decode {args.decode}; {threads}; {args.repetitions} repetitions in each of {args.rounds} rounds")
    print("round  way        tok/s by ITL   by mean   TTFT, ms    ratio by ITL  by mean  other programs", flush=True)


def line(number, name, side, ratio="", others=""):
    print(f"{number:>5}  {name:9}{side['tok_s']:14.2f}{side['mean']:10.2f}{side['ttft_s'] * 1e3:11.2f}{ratio}{others}", flush=True)


def compare(args, spec, scratch):
    prompt = in_turn.write_prompt(spec, args.prompt, scratch)
    precision = "fp16" if args.device == "cuda" else "fp32"
    ratios = {way: in_turn.Ratios() for way in args.ways}
    for number in range(1, args.rounds + 1):
        in_turn.settle(args.settle)
        load = in_turn.Load()
        ours = in_turn.run_edgebench(args, precision, scratch)
        for way in args.ways:
            task = {"way": way, "spec": spec, "prompt": prompt, "decode": args.decode, "repetitions": args.repetitions,
                    "device": args.device, "threads": args.threads}
            theirs = in_turn.run_other(__file__, task)
            total = ours["parameters"]
            if theirs["parameters"] != total:
                sys.exit(f"PyTorch's model has {theirs['parameters']:,} parameters and edgebench's {total:,}: not the same model")
            if number == 1 and way == args.ways[0]:
                head(args, ours, theirs)
            if way == args.ways[0]:
                line(number, "edgebench", ours)
            ratio = {key: ours[key] / theirs[key] for key in ("tok_s", "mean")}
            others = load.others()
            ratios[way].add(others, **ratio)
            line(number, way, theirs, f"{ratio['tok_s']:16.3f}{ratio['mean']:9.3f}", f"  {in_turn.share(others)}")
    for way in args.ways:
        print(*ratios[way].lines({"tok_s": f"edgebench/{way}, by ITL", "mean": f"edgebench/{way}, by mean"}), sep="\n")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    in_turn.add_arguments(parser, repetitions=3, rounds=5)
    parser.add_argument("--ways", default=",".join(WAYS), help="which of PyTorch's, separated by commas (default: %(default)s)")
    parser.add_argument("--drive", metavar="-", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.drive:
        return args
    in_turn.check_arguments(parser, args)
    args.ways = [way for way in args.ways.split(",") if way]
    unknown = [way for way in args.ways if way not in WAYS]
    if unknown or not args.ways:
        parser.error(f"--ways {','.join(unknown)}: known are {', '.join(WAYS)}")
    if not args.edgebench:
        parser.error("--edgebench is needed")
    return args


def main():
    args = arguments()
    if args.drive:
        return drive(json.loads(sys.stdin.read()))
    spec = in_turn.spec(args.model)
    gpt2 = spec["ffn"]["kind"] == "gelu" and spec["position"]["kind"] == "learned" and spec["bias"] and spec["tied_head"]
    if not gpt2 or spec.get("specialists") or spec["n_kv_heads"] != spec["n_heads"]:
        sys.exit(f"--model {args.model}: not of GPT-2's architecture; dense-120m, dense-350m and tiny-gpt2 are")
    if args.prompt + args.decode > spec["max_positions"]:
        sys.exit(f"--prompt and --decode: {args.prompt + args.decode} tokens do not fit the model's {spec['max_positions']} positions")
    with tempfile.TemporaryDirectory() as scratch:
        compare(args, spec, scratch)


if __name__ == "__main__":
    main()
