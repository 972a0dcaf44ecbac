#!/usr/bin/env python3
"""What each setting saves of GPU memory, and what it costs in speed.

    memory_knobs.py RUNTIME MODEL.onnx [CASE...]

RUNTIME is a folder with the `onnxruntime` Python package (with the CUDA provider) in a subfolder `python`; MODEL.onnx an exported
fused fp16 graph (`edgebench export dense-120m --precision fp16 -o DIR`). Each case is a process of its own that drives the graph as
edgebench does: everything bound in advance, the KV cache in place, decode steps in a CUDA graph. Memory is what NVML says of the
process, in MiB, after each step. Needs an NVIDIA GPU, CUDA 13 in /usr/local/cuda, numpy.
"""

import ctypes
import json
import os
import statistics
import subprocess
import sys
import time

CUDA = "/usr/local/cuda/lib64"
CAPACITY, PROMPT, STEPS = 1024, 256, 100
DEVICE_INITIALIZERS = {"session.use_device_allocator_for_initializers": "1"}
NO_PREPACKING = {"session.disable_prepacking": "1"}
SMALL = {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}
CASES = {
    "base": {},
    "no CUDA graph": {"graph": 0},
    "device-allocated initializers": {"config": DEVICE_INITIALIZERS},
    "no prepacking": {"config": NO_PREPACKING},
    "both": {"config": {**DEVICE_INITIALIZERS, **NO_PREPACKING}},
    "stack 256": {"limits": {0: 256}},
    "stack 0": {"limits": {0: 0}},
    "stack 256, small printf and heap": {"limits": {0: 256, 1: 65536, 2: 65536}},
    "cuBLAS workspace :16:8": {"env": SMALL},
    "and no cuBLASLt workspace": {"env": {**SMALL, "CUBLASLT_WORKSPACE_SIZE": "0"}},
    "launch queues 0.25x": {"env": {"CUDA_SCALE_LAUNCH_QUEUES": "0.25x"}},
    "one connection": {"env": {"CUDA_DEVICE_MAX_CONNECTIONS": "1"}},
    "eager module loading": {"env": {"CUDA_MODULE_LOADING": "EAGER"}},
    "GEMM auto-tuning": {"config": {"ep.cuda.enable_gemm_auto_tune": "1"}},
    "arena shrunk at the end": {"shrink": True},
    "stack 256, :16:8, device initializers": {"limits": {0: 256}, "env": SMALL, "config": DEVICE_INITIALIZERS},
}


class Process(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint), ("bytes", ctypes.c_ulonglong), ("instance", ctypes.c_uint), ("compute", ctypes.c_uint)]


class Gpu:
    """The CUDA runtime and NVML, by hand: no library that would take memory of its own."""

    def __init__(self, limits):
        self.nvml = ctypes.CDLL("libnvidia-ml.so.1")
        self.nvml.nvmlInit_v2()
        self.device = ctypes.c_void_p()
        self.nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self.device))
        self.cuda = ctypes.CDLL(f"{CUDA}/libcudart.so.13", mode=ctypes.RTLD_GLOBAL)
        self.check(self.cuda.cudaSetDevice(0))
        for limit, value in limits.items():
            self.check(self.cuda.cudaDeviceSetLimit(int(limit), ctypes.c_size_t(value)))
        self.check(self.cuda.cudaFree(None))

    @staticmethod
    def check(status):
        if status:
            sys.exit(f"CUDA error {status}")

    def own_mib(self):
        count, found = ctypes.c_uint(64), (Process * 64)()
        self.nvml.nvmlDeviceGetComputeRunningProcesses_v3(self.device, ctypes.byref(count), found)
        return max(found[at].bytes for at in range(count.value) if found[at].pid == os.getpid()) / 2**20

    def allocate(self, size):
        at = ctypes.c_void_p()
        self.check(self.cuda.cudaMalloc(ctypes.byref(at), ctypes.c_size_t(size)))
        self.check(self.cuda.cudaMemset(at, 0, ctypes.c_size_t(size)))
        return at.value

    def upload(self, at, array):
        self.check(self.cuda.cudaMemcpy(ctypes.c_void_p(at), array.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(array.nbytes), 1))


def child(case):
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    gpu = Gpu(case.get("limits", {}))
    seen = {"context": gpu.own_mib()}
    for name in ("libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10"):
        ctypes.CDLL(f"{CUDA}/{name}", mode=ctypes.RTLD_GLOBAL)
    sys.path.insert(0, case["runtime"] + "/python")
    import numpy as np
    import onnxruntime

    graph = case.get("graph", 1)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for key, value in case.get("config", {}).items():
        options.add_session_config_entry(key, value)
    provider = {"device_id": "0", "arena_extend_strategy": "kSameAsRequested", "enable_cuda_graph": str(graph)}
    session = onnxruntime.InferenceSession(case["model"], options, providers=[("CUDAExecutionProvider", provider)])
    seen["session"] = gpu.own_mib()
    inputs = {value.name: value for value in session.get_inputs()}
    vocabulary = {value.name: value for value in session.get_outputs()}["logits"].shape[-1]
    caches = {name: ([1, value.shape[1], CAPACITY, value.shape[3]],) for name, value in inputs.items() if name.startswith("past_")}
    caches = {name: (shape, gpu.allocate(2 * int(np.prod(shape)))) for name, (shape,) in caches.items()}
    sizes = {"input_ids": 8 * CAPACITY, "next_ids": 8, "logits": 2 * vocabulary, "seqlens_k": 4, "position_ids": 4 * CAPACITY}
    at = {name: gpu.allocate(size) for name, size in sizes.items()}
    total = np.array([PROMPT], np.int32)
    seen["buffers"] = gpu.own_mib()

    def bind(new, ids):
        binding = session.io_binding()
        binding.bind_input("input_ids", "cuda", 0, np.int64, [1, new], ids)
        binding.bind_input("seqlens_k", "cuda", 0, np.int32, [1], at["seqlens_k"])
        binding.bind_input("total_sequence_length", "cpu", 0, np.int32, [1], total.ctypes.data)
        if "position_ids" in inputs:
            binding.bind_input("position_ids", "cuda", 0, np.int32, [1, new], at["seqlens_k" if new == 1 else "position_ids"])
        binding.bind_output("logits", "cuda", 0, np.float16, [1, 1, vocabulary], at["logits"])
        binding.bind_output("next_ids", "cuda", 0, np.int64, [1, 1], at["next_ids"])
        for name, (shape, address) in caches.items():
            binding.bind_input(name, "cuda", 0, np.float16, shape, address)
            binding.bind_output(name.replace("past_key_values", "present"), "cuda", 0, np.float16, shape, address)
        return binding

    def run_options(number, **more):
        made = onnxruntime.RunOptions()
        for key, value in {"gpu_graph_id": number, **more}.items():
            made.add_run_config_entry(key, value)
        return made

    plain, captured = run_options("-1"), run_options("1" if graph else "-1")
    gpu.upload(at["input_ids"], (np.arange(CAPACITY) * 7919 % (vocabulary - 2) + 2).astype(np.int64))
    gpu.upload(at["position_ids"], np.arange(CAPACITY, dtype=np.int32))
    prompt, step = bind(PROMPT, at["input_ids"]), bind(1, at["next_ids"])

    def run(binding, last, bound, how):
        total[0] = bound
        gpu.upload(at["seqlens_k"], np.array([last], np.int32))
        session.run_with_iobinding(binding, how)
        gpu.check(gpu.cuda.cudaDeviceSynchronize())

    # As edgebench does: an ordinary step and the captured one before anything is timed.
    run(step, 0, 1, plain)
    run(step, 1, CAPACITY if graph else 2, captured)
    seen["captured"] = gpu.own_mib()
    run(prompt, PROMPT - 1, PROMPT, plain)
    seen["prompt"] = gpu.own_mib()
    rates = []
    for _ in range(3):
        run(prompt, PROMPT - 1, PROMPT, plain)
        began = time.perf_counter()
        for last in range(PROMPT, PROMPT + STEPS):
            run(step, last, CAPACITY if graph else last + 1, captured)
        rates.append(STEPS / (time.perf_counter() - began))
    seen["peak"] = gpu.own_mib()
    if case.get("shrink"):
        run(prompt, PROMPT - 1, PROMPT, run_options("-1", **{"memory.enable_memory_arena_shrinkage": "gpu:0"}))
        seen["shrunk"] = gpu.own_mib()
    print("SEEN " + json.dumps({**seen, "tok_s": statistics.median(rates)}))


def main():
    if sys.argv[1:2] == ["--child"]:
        return child(json.loads(sys.argv[2]))
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    runtime, model, only = sys.argv[1], sys.argv[2], sys.argv[3:]
    for name, case in CASES.items():
        if only and name not in only:
            continue
        env = {**os.environ, **case.get("env", {})}
        command = [sys.executable, __file__, "--child", json.dumps({**case, "runtime": runtime, "model": model})]
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        seen = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("SEEN ")]
        if not seen:
            print(f"{name:38} failed: {done.stderr.strip()[-300:]}")
            continue
        print(f"{name:38} " + "  ".join(f"{key} {value:6.0f}" for key, value in seen[0].items()), flush=True)


if __name__ == "__main__":
    main()
