//! Predicts the memory of a trial before it runs, as named terms. Estimates only: a row's own figures are measured.

use super::census::kv_bytes_per_token;
use super::offload::{OffloadPlan, offload_plan, unified_plan};
use super::spec::{Ffn, ModelSpec};
use super::weights::Layout;
use crate::trial::{Device, Float, Form, Numerics, Offload, Trial};
use crate::units::Bytes;
use serde::Serialize;

/// Predicted memory of a trial, above an empty worker's on the CPU, in all on a GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Footprint {
    /// Weights, and the copies that the runtime packs at load.
    #[serde(rename = "weights_bytes")]
    pub weights: Bytes,
    /// KV cache buffers.
    #[serde(rename = "kv_cache_bytes")]
    pub kv_cache: Bytes,
    /// Activations of the prompt, the largest run of a trial.
    #[serde(rename = "activations_bytes")]
    pub activations: Bytes,
    /// The runtime itself.
    #[serde(rename = "runtime_bytes")]
    pub runtime: Bytes,
    /// Whether the GPU takes its memory from the CPU's.
    #[serde(skip)]
    pub unified: bool,
}

/// What is known of a GPU's memory before a trial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GpuMemory {
    /// What a process holds there after one addition; `None` where no probe told.
    pub probed: Option<Bytes>,
    /// Whether it is the CPU's memory.
    pub unified: bool,
}

impl Footprint {
    /// Where the weights of its trial go, in a budget of `budget`: what all else leaves of it may be weights on the GPU.
    pub fn offload_plan(&self, spec: &ModelSpec, trial: &Trial, budget: Bytes) -> OffloadPlan {
        if self.unified {
            return unified_plan(spec, trial);
        }
        let all_else = Footprint {
            weights: Bytes(0),
            ..*self
        };
        let room = budget.saturating_sub(left_free(budget));
        offload_plan(spec, trial, room.saturating_sub(all_else.total()))
    }

    /// All terms together.
    pub fn total(&self) -> Bytes {
        Bytes(
            [self.weights, self.kv_cache, self.activations, self.runtime]
                .iter()
                .fold(0u64, |sum, term| sum.saturating_add(term.0)),
        )
    }
}

/// `--offload auto` leaves one part in so many of a budget free, since what does not fit after all costs a second try. It fills the rest
/// exactly, and predictions of such plans were up to 1.8 % too low on an H100: 998 MiB were taken where 981 were predicted, and 1,012
/// where 998 were, both in 1 GiB (benchmarks/results/h100-offload-moe.json, h100-offload-dense.json).
const LEFT_FREE: u64 = 50;

/// But no more than this: what a prediction misses are modules and workspaces, 33 MiB at most there, and they do not grow with the budget.
/// From 1.5 GiB on predictions were within 1 % or too high.
const MOST_LEFT_FREE: Bytes = Bytes(64 << 20);

/// What is left free of a budget.
fn left_free(budget: Bytes) -> Bytes {
    Bytes(budget.0 / LEFT_FREE).min(MOST_LEFT_FREE)
}

/// What ONNX Runtime takes on the CPU besides weights, caches and activations, above an empty worker: its library, its
/// threads, a session. Measured: peaks of the test-size models with the 1.31.1 wheel (x86-64 Linux, 2 threads).
const CPU_RUNTIME: Bytes = Bytes(29 << 20);

/// What a process holds on a GPU after one addition, where no probe of it tells: a CUDA context (320 MiB) and the provider's
/// modules. Measured on an H100 with the 1.31.1 wheel; other cards differ.
const CUDA_PROBE: Bytes = Bytes(338 << 20);

/// What the first runs of a model add to that: cuBLAS, more modules, the captured graph. Measured on an H100 with the 1.31.1 wheel,
/// where it goes by the kernels in use, not by sizes: 36 to 42 MiB for dense models, 4 to 8 where the MoE operator or MatMulNBits
/// take the place of cuBLAS in the wide matrix products, and 44 more with the attention kernels for heads wider than 64.
fn first_runs(spec: &ModelSpec, numerics: Numerics) -> Bytes {
    let quantized = numerics.quantized_bits().is_some();
    let products = match spec.ffn {
        Ffn::Moe { .. } => 6 << 20,
        // Specialists are batched products, which stay with cuBLAS.
        Ffn::Gelu { .. } | Ffn::Swiglu { .. } if quantized && spec.specialists.is_none() => 6 << 20,
        Ffn::Gelu { .. } | Ffn::Swiglu { .. } => 38 << 20,
    };
    let wide_heads = if spec.head_dim > 64 { 44 << 20 } else { 0 };
    Bytes(products + wide_heads)
}

/// Predicts the memory of `trial`.
pub fn footprint(spec: &ModelSpec, trial: &Trial) -> Footprint {
    footprint_on(spec, trial, GpuMemory::default())
}

/// Predicts the memory of `trial` on a GPU of which this is known.
pub fn footprint_on(spec: &ModelSpec, trial: &Trial, gpu: GpuMemory) -> Footprint {
    if let Some(foreign) = spec.foreign {
        return foreign.footprint(trial, gpu.probed);
    }
    let weights = match trial.device {
        Device::Cpu => host_weights(spec, trial.numerics()),
        Device::Cuda(_) => Layout::of(spec, trial.numerics()).file_bytes,
    };
    let tokens = u64::from(trial.batch) * u64::from(trial.context());
    // A growing cache is copied from one buffer into the other.
    let copies = if trial.kv_in_place() { 1 } else { 2 };
    let kv_cache = Bytes(
        kv_bytes_per_token(spec, trial.kv_cache, trial.numerics().compute())
            .0
            .saturating_mul(tokens)
            .saturating_mul(copies),
    );
    let mut footprint = Footprint {
        weights,
        kv_cache,
        activations: activations(spec, trial),
        runtime: match trial.device {
            Device::Cpu => CPU_RUNTIME,
            Device::Cuda(_) => {
                gpu.probed.unwrap_or(CUDA_PROBE) + first_runs(spec, trial.numerics())
            }
        },
        unified: gpu.unified && trial.device != Device::Cpu,
    };
    if trial.offload != Offload::None {
        let plan = footprint.offload_plan(spec, trial, trial.budget);
        footprint.weights = plan.on_gpu();
    }
    footprint
}

/// What the runtime itself takes on a device, for a dense model.
pub fn runtime(device: Device) -> Bytes {
    match device {
        Device::Cpu => CPU_RUNTIME,
        Device::Cuda(_) => CUDA_PROBE + Bytes(38 << 20),
    }
}

/// What each term of a prediction rests on, in words.
pub fn basis(device: Device) -> [(&'static str, &'static str); 4] {
    let (weights, runtime) = match device {
        Device::Cpu => (
            "the weight file in fp32, in which the CPU provider computes, and a packed copy of a tied head; checked against dense-120m in fp16 on x86-64; of int8 and int4 the weight file, a packed copy of a tied head and 8 bytes for each block of 32 weights; checked against dense-120m, dense-350m, moe-120m-a82m, moe-295m-a120m and granite-1b-a400m on x86-64, whose peaks it meets within 7 %",
            "a constant measured on x86-64 Linux with 2 threads and ONNX Runtime 1.31.1; other machines differ",
        ),
        Device::Cuda(_) => (
            "the weight file, as it is; packed experts of int8 and int4 take as much as in the file",
            "what the probe of this GPU held after one addition (338 MiB without one, as on an H100), and for the first runs of a model 6 to 82 MiB by the kinds of its kernels, measured on an H100 with ONNX Runtime 1.31.1",
        ),
    };
    [
        ("weights", weights),
        (
            "kv_cache",
            "its buffers by shape: one in the fused form, two where it is copied to grow, as in the plain form",
        ),
        (
            "activations",
            match device {
                Device::Cpu => {
                    "values alive at once in one layer of the prompt, by shape; not measured"
                }
                Device::Cuda(_) => {
                    "values alive at once in one layer of the prompt, by shape, for fused graphs fitted to what the arena of ONNX Runtime 1.31.1 held at most on an H100; of int8 and int4 also the largest layer's weights in fp16"
                }
            },
        ),
        ("runtime", runtime),
    ]
}

/// Weights as the CPU provider holds them. It computes in fp32 and converts fp16 weights at load (measured: 672 MiB for
/// dense-120m in fp16, whose file has 237). The head's matrix product packs a copy of a tied embedding, which stays as it
/// is for the lookups.
fn host_weights(spec: &ModelSpec, numerics: Numerics) -> Bytes {
    let single = Float::Fp32.bytes();
    let layout = Layout::of(spec, numerics);
    let file = layout.file_bytes.0;
    if numerics.quantized_bits().is_some() {
        return Bytes(file + layout.read_twice().0 + PACKED_BLOCK * layout.packed_blocks());
    }
    let head = match spec.tied_head {
        true => u64::from(spec.vocab) * u64::from(spec.d_model) * single,
        false => 0,
    };
    Bytes(file * (single / numerics.compute().bytes()) + head)
}

/// What the CPU provider keeps of a block of quantised weights besides the weights, packed, and one scale: its scale once more
/// and the sum of its weights, fp32 each. Measured as what peaks of the built-in dense models have above their files, caches and
/// activations: 5 to 8 bytes for each block, with the 1.31.1 wheel on x86-64; those of the Mixture-of-Experts models are met by it
/// within 3 %.
const PACKED_BLOCK: u64 = 8;

/// Values alive at once while the prompt runs through a layer, and the logits.
fn activations(spec: &ModelSpec, trial: &Trial) -> Bytes {
    let wide = u64::from;
    let (batch, prompt) = (wide(trial.batch), wide(trial.prompt_tokens));
    let rows = batch.saturating_mul(prompt);
    let row = match (trial.device, trial.form) {
        (Device::Cuda(_), Form::Fused) => fused_row_on_gpu(spec),
        _ => row(spec, trial.form, prompt),
    };
    let elements = rows
        .saturating_mul(row)
        .saturating_add(batch * wide(spec.vocab) * 2);
    let unpacked = match trial.device {
        // The CUDA provider turns the weights of a quantised layer into fp16 for more than a few tokens, one layer at a time;
        // the head sees one token of each sequence.
        Device::Cuda(_) => Layout::of(spec, trial.numerics()).largest_quantized_linear(),
        Device::Cpu => 0,
    };
    let elements = elements.saturating_add(unpacked);
    Bytes(elements.saturating_mul(trial.numerics().compute().bytes()))
}

/// Elements alive at once for each token of a prompt.
fn row(spec: &ModelSpec, form: Form, prompt: u64) -> u64 {
    let wide = u64::from;
    let ffn = match spec.ffn {
        Ffn::Gelu { d_ff } => 2 * wide(d_ff),
        Ffn::Swiglu { d_ff } => 3 * wide(d_ff),
        Ffn::Moe { d_ff, top_k, .. } => wide(top_k) * (3 * wide(d_ff) + wide(spec.d_model)),
    };
    let scores = match form {
        // The whole score matrix, before and after softmax.
        Form::Plain => 2 * wide(spec.n_heads) * prompt,
        Form::Fused => 0,
    };
    let attention = wide(spec.qkv_width() + spec.q_width()) + scores;
    3 * wide(spec.d_model) + ffn.max(attention)
}

/// The same for a fused graph on a GPU: what the arena held at most, for each token of 4,096, less than 6 % off for each of
/// dense-120m (14,617 elements), llama-1b (37,952), qwen3-0.6b (23,588), moe-120m-a82m (11,425), moe-295m-a120m (15,411) and
/// granite-1b-a400m (26,840).
fn fused_row_on_gpu(spec: &ModelSpec) -> u64 {
    let wide = u64::from;
    let d = wide(spec.d_model);
    let ffn = match spec.ffn {
        Ffn::Gelu { d_ff } | Ffn::Swiglu { d_ff } => 4 * wide(d_ff),
        // The operator's workspace has two regions, each used twice: inputs and results of the experts' first and second product.
        Ffn::Moe { d_ff, top_k, .. } => {
            let (k, inner) = (wide(top_k), wide(d_ff));
            k * d.max(inner) + k * (2 * inner).max(d) + 8 * d
        }
    };
    let copies = if spec.qk_norm { 5 } else { 4 };
    3 * d + ffn.max(copies * wide(spec.qkv_width()))
}

#[cfg(test)]
mod tests {
    use super::super::{builtin, find};
    use super::*;
    use crate::trial::{KvCache, Precision};

    fn trial(form: Form, batch: u32, prompt_tokens: u32) -> Trial {
        Trial {
            form,
            batch,
            prompt_tokens,
            gen_tokens: 128,
            ..Trial::example()
        }
    }

    #[test]
    fn more_work_never_needs_less() {
        for spec in builtin() {
            let total = |batch, prompt| footprint(spec, &trial(Form::Fused, batch, prompt)).total();
            assert!(
                total(1, 64) < total(2, 64) && total(1, 64) < total(1, 128),
                "{}",
                spec.name
            );
        }
    }

    #[test]
    fn a_cache_in_int8_is_predicted_to_take_a_quarter_and_to_change_nothing_else() {
        let spec = find("llama-1b").unwrap();
        let float = trial(Form::Fused, 2, 4096);
        let int8 = Trial {
            kv_cache: KvCache::Int8,
            ..float.clone()
        };
        let (float, int8) = (footprint(spec, &float), footprint(spec, &int8));
        assert_eq!(float.kv_cache.0, 4 * int8.kv_cache.0);
        let kv_cache = float.kv_cache;
        assert_eq!(float, Footprint { kv_cache, ..int8 });
    }

    #[test]
    fn half_precision_saves_nothing_on_the_cpu_and_half_on_a_gpu() {
        let spec = find("llama-1b").unwrap();
        let weights = |device, precision| {
            let trial = Trial {
                device,
                precision,
                ..trial(Form::Fused, 1, 64)
            };
            footprint(spec, &trial).weights.0
        };
        let ratio = |device| {
            weights(device, Precision::Fp16) as f64 / weights(device, Precision::Fp32) as f64
        };
        assert!(
            (ratio(Device::Cpu) - 1.0).abs() < 0.01,
            "{}",
            ratio(Device::Cpu)
        );
        let gpu = ratio(Device::Cuda(0));
        assert!((gpu - 0.5).abs() < 0.01, "{gpu}");
    }

    #[test]
    fn rows_on_a_gpu_are_near_the_measured_ones() {
        let measured = [
            ("dense-120m", 14_617.0),
            ("llama-1b", 37_952.0),
            ("qwen3-0.6b", 23_588.0),
            ("moe-120m-a82m", 11_425.0),
            ("moe-295m-a120m", 15_411.0),
            ("granite-1b-a400m", 26_840.0),
        ];
        for (name, elements) in measured {
            let predicted = fused_row_on_gpu(find(name).unwrap()) as f64;
            assert!(
                (predicted / elements - 1.0).abs() < 0.06,
                "{name}: {predicted}"
            );
        }
    }

    #[test]
    fn quantised_weights_are_predicted_as_they_were_measured_on_the_cpu() {
        // Peaks in MiB at 256 + 32 tokens with the 1.31.1 wheel, x86-64 Linux, 2 threads: on an idle and on a busy machine, of
        // the two largest models twice on a busy one.
        let measured = [
            ("dense-120m", Precision::Int8, 261.7, 278.5),
            ("dense-120m", Precision::Int4, 192.1, 202.7),
            ("dense-350m", Precision::Int8, 607.1, 630.3),
            ("dense-350m", Precision::Int4, 437.4, 444.5),
            ("moe-120m-a82m", Precision::Int8, 251.3, 266.5),
            ("moe-120m-a82m", Precision::Int4, 180.4, 189.6),
            ("moe-295m-a120m", Precision::Int8, 492.8, 493.7),
            ("moe-295m-a120m", Precision::Int4, 338.3, 338.7),
            ("granite-1b-a400m", Precision::Int8, 1874.9, 1875.3),
            ("granite-1b-a400m", Precision::Int4, 1227.8, 1228.3),
        ];
        for (name, precision, low, high) in measured {
            let trial = Trial {
                precision,
                gen_tokens: 32,
                ..trial(Form::Fused, 1, 256)
            };
            let predicted = footprint(find(name).unwrap(), &trial).total().0 as f64;
            let predicted = predicted / (1 << 20) as f64;
            let inside = predicted > 0.93 * high && predicted < 1.07 * low;
            assert!(inside, "{name} {precision}: {predicted}");
        }
    }

    #[test]
    fn a_gpu_needs_room_for_one_quantised_layer_in_fp16() {
        let spec = find("llama-1b").unwrap();
        let activations = |precision| {
            let trial = Trial {
                device: Device::Cuda(0),
                precision,
                ..trial(Form::Fused, 1, 64)
            };
            footprint(spec, &trial).activations.0
        };
        let more = activations(Precision::Int4) - activations(Precision::Fp16);
        assert_eq!(more, 2048 * 8192 * 2);
    }

    #[test]
    fn the_part_of_a_budget_that_is_left_free_does_not_grow_for_ever() {
        for (budget, left) in [(1000 << 20, 20 << 20), (8 << 30, 64 << 20), (0, 0)] {
            assert_eq!(left_free(Bytes(budget)), Bytes(left));
        }
    }

    #[test]
    fn on_one_shared_memory_offload_neither_shrinks_nor_doubles_the_need() {
        let gpu = GpuMemory {
            probed: None,
            unified: true,
        };
        for (name, precision) in [
            ("granite-1b-a400m", Precision::Fp16),
            ("granite-1b-a400m", Precision::Int4),
            ("llama-1b", Precision::Fp16),
        ] {
            let spec = find(name).unwrap();
            let need = |offload, gpu| {
                let trial = Trial {
                    device: Device::Cuda(0),
                    precision,
                    offload,
                    budget: Bytes(1 << 30),
                    ..trial(Form::Fused, 1, 64)
                };
                footprint_on(spec, &trial, gpu).total()
            };
            let whole = need(Offload::None, gpu);
            assert_eq!(need(Offload::Auto, gpu), whole, "{name}");
            for by_hand in [Offload::Experts, Offload::All, Offload::Layers(3)] {
                // Tensors in a block of ours lie closer than in the file.
                let more = need(by_hand, gpu).0.abs_diff(whole.0);
                assert!(more < whole.0 / 200, "{name} {by_hand}: {more}");
            }
            let apart = GpuMemory::default();
            assert!(need(Offload::All, apart) < whole, "{name}");
        }
    }

    #[test]
    fn absurd_sizes_saturate() {
        let spec = find("llama-1b").unwrap();
        let all = footprint(spec, &trial(Form::Plain, u32::MAX, u32::MAX));
        assert_eq!(all.total(), Bytes(u64::MAX));
    }
}
