//! The result file: every field an exporter may know. Serialised as it stands; see README, "JSON schema".
//! A figure that was not measured is `null` here and has its reason in `not_measured` of the same row.

use crate::trial::{GpuProcess, KvCache, LinkWays, LockedClocks, MemoryReading, Placement};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the schema. A reader refuses another major number.
pub const SCHEMA_VERSION: &str = "1.3";

/// A whole result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: String,
    /// The program that wrote it.
    pub tool: Tool,
    /// The command line, as typed.
    pub command_line: Vec<String>,
    /// Start, RFC 3339 in UTC.
    pub started_utc: String,
    /// When it was continued after a stop, each time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub continued_utc: Vec<String>,
    /// `false` while trials remain: a run that was stopped keeps this.
    pub finished: bool,
    /// The machine.
    pub environment: Environment,
    /// Memory budget of the run, the largest where there are several.
    pub budget_bytes: u64,
    /// All memory budgets in ascending order; empty in files of before there could be several.
    #[serde(default)]
    pub budgets_bytes: Vec<u64>,
    /// Seed of the built-in weights.
    pub seed: u64,
    /// Tokenizer in use.
    pub tokenizer: String,
    /// What came from outside the command line and decides what is run; absent in results before schema 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Inputs>,
    /// One row for each trial, in the order of the plan.
    pub trials: Vec<Row>,
    /// The largest sizes that ran inside the budget, where they were searched for.
    #[serde(default)]
    pub ceilings: Vec<super::Ceiling>,
    /// Dense against Mixture of Experts, where the rows hold such pairs; absent in results before schema 1.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub study: Option<super::Study>,
    /// How far several runs of the suite are apart; absent where it ran once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeatability: Option<super::Repeatability>,
    /// The conclusion in words, computed from the rows.
    pub verdict: Option<String>,
}

/// Files and variables that a run depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inputs {
    /// SHA-256 of the file of prompts; null where the built-in ones were used.
    pub prompt_sha256: Option<String>,
    /// SHA-256 of the `tokenizer.json`; null where the rules were used.
    pub tokenizer_sha256: Option<String>,
    /// Environment variables that were set, of those that change what is measured.
    pub variables: BTreeMap<String, String>,
}

/// The program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// `edgebench`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The commit it was built from.
    pub commit: Option<String>,
}

/// The machine and the runtime.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Host name.
    pub host: Option<String>,
    /// Operating system, with version.
    pub os: Option<String>,
    /// Kernel version.
    pub kernel: Option<String>,
    /// CPU architecture, as Rust names it.
    pub arch: String,
    /// CPU model name.
    pub cpu_info: Option<String>,
    /// Physical cores.
    pub cpu_cores: Option<u32>,
    /// Logical processors.
    pub cpu_threads: Option<u32>,
    /// Main memory.
    pub memory_total_bytes: Option<u64>,
    /// Main memory available at the start.
    pub memory_available_bytes: Option<u64>,
    /// Name of the GPU.
    pub gpu_info: Option<String>,
    /// Everything known of the GPU.
    pub gpu: Option<crate::protocol::GpuFacts>,
    /// Version of ONNX Runtime.
    pub runtime_version: Option<String>,
    /// Its build information.
    pub runtime_build: Option<String>,
    /// Providers compiled into it.
    pub runtime_providers: Vec<String>,
    /// The provider the trials ran on, for example `CPUExecutionProvider`.
    pub provider_in_use: Option<String>,
    /// Why CUDA was not used, when `--device auto` chose the CPU.
    pub cuda_unavailable: Option<String>,
    /// What the device can do at most.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// Power mode (`nvpmodel`, CPU governor), where known.
    pub power_mode: Option<String>,
    /// CPU clock at the start, where known.
    pub cpu_clock_mhz: Option<u32>,
    /// Clocks of the GPU that were locked for the run; null where they followed load, heat and power.
    #[serde(default)]
    pub locked_clocks: Option<LockedClocks>,
    /// Reason for every `null` above, by field name.
    #[serde(default)]
    pub not_measured: BTreeMap<String, String>,
}

/// One trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Stable id of the trial, for people: `compare` matches on the fields it is made of.
    pub id: String,
    /// Model name.
    pub model: String,
    /// Graph form.
    pub form: String,
    /// Element type.
    pub precision: String,
    /// Type of the KV cache: `float` for that of the activations, or `int8`.
    #[serde(default = "float")]
    pub kv_cache_type: String,
    /// Device.
    pub device: String,
    /// Sequences decoded together.
    pub batch: u32,
    /// Prompt length.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub gen_tokens: u32,
    /// Timed repetitions asked for.
    pub repetitions: u32,
    /// Untimed repetitions before them, where their number was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<u32>,
    /// How the warm-up ended where it went on until times were steady; absent before it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady: Option<Steady>,
    /// Whether decode steps were captured into a CUDA graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda_graph: Option<bool>,
    /// Tunings of the runtime that it was measured with, and what was tried before.
    #[serde(default)]
    pub tuning: Option<super::Tuning>,
    /// Tokens that the KV cache had room for; absent in results before schema 1.1, where they are those of the sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_capacity: Option<u32>,
    /// How the KV cache grew: `in place`, `copied` or `concatenated`; absent where no model was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_mode: Option<String>,
    /// What is to be told of a graph that another program wrote; absent for edgebench's own, and in results before schema 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<ForeignRow>,
    /// Where the nodes of the graph ran.
    #[serde(default)]
    pub placement: Option<Placement>,
    /// `ok | does_not_fit | out_of_memory | timed_out | crashed | failed`, or `pending` before it ran.
    pub status: String,
    /// Why it is not `ok`.
    pub reason: Option<String>,
    /// Phase in which it ended, when not `ok`.
    pub failed_phase: Option<String>,
    /// When it ran out of memory: the size that was refused, or all that it had taken where that was over the budget.
    #[serde(default)]
    pub failed_bytes: Option<u64>,
    /// Last lines of the worker's stderr, when it crashed.
    pub stderr_tail: Option<String>,
    /// Parameter counts.
    pub params: Params,
    /// Session creation, milliseconds.
    pub load_ms: Option<Metric>,
    /// Time to first token, milliseconds: prefill and the first id on the host.
    pub ttft_ms: Option<Metric>,
    /// Prompt tokens of all sequences per second of prefill.
    pub prefill_tok_s: Option<Metric>,
    /// Generated tokens of all sequences per second: batch / inter-token latency, first token excluded.
    pub decode_tok_s: Option<Metric>,
    /// Inter-token latency, milliseconds, over all steps of all repetitions.
    pub itl_ms: Option<Metric>,
    /// The same over the position, in ascending order and without gaps, 32 buckets at most; empty where `itl_ms` is null and in
    /// results of before the field was there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub itl_by_position: Vec<ItlAtPosition>,
    /// Time of a forward pass, milliseconds, inputs and outputs in main memory; only of models that are no decoders, as the next
    /// three. From schema 1.3 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Metric>,
    /// Items (`batch`: the first dimension of the first input) per second of the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_s: Option<Metric>,
    /// Sizes of the dimensions that the graph leaves free, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dims: Option<BTreeMap<String, u32>>,
    /// What came out of two passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_check: Option<OutputCheck>,
    /// Share of the decode time spent outside the runtime's run call, 0 to 1.
    pub outside_run_share: Option<f64>,
    /// Memory.
    pub memory: MemoryRow,
    /// How far it is from what the device can do at most.
    #[serde(default)]
    pub limits: Option<RowLimits>,
    /// Weights in main memory; absent where all were to be on the GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offload: Option<OffloadRow>,
    /// Swap and page faults while it ran; absent in results of before the field was there.
    #[serde(default)]
    pub paging: Option<PagingRow>,
    /// Energy of the timed part.
    #[serde(default)]
    pub energy: Option<Energy>,
    /// Clocks, temperature, power limit and throttling around the timed phases.
    #[serde(default)]
    pub device_state: Option<DeviceConditions>,
    /// Cost of generated tokens.
    pub cost: Option<Cost>,
    /// Comparison with the committed reference.
    pub check: Option<Check>,
    /// Decode held to prefill at the end of the trial.
    #[serde(default)]
    pub decode_check: Option<DecodeCheck>,
    /// How far the logits of a fixed text are from those of the same weights and KV cache in fp32, token by token at the end of the
    /// trial. No row fails on it: it tells what rounding does to these weights, which are random.
    #[serde(default)]
    pub fp32_difference: Option<Difference>,
    /// The weights of its routers held to what they have to be, at the end of the trial; absent where nobody looked, and in results of
    /// before the field was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_check: Option<RouterCheck>,
    /// First generated ids of row 0.
    #[serde(default)]
    pub first_ids: Vec<i64>,
    /// Things a reader must know: outliers, slow first run, spread.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Reason for every `null` above, by field name.
    #[serde(default)]
    pub not_measured: BTreeMap<String, String>,
    /// Wall time of the trial, seconds.
    pub wall_s: Option<f64>,
    /// llama-bench's names for the same facts.
    #[serde(flatten)]
    pub llama_bench: LlamaBench,
}

/// What was swapped, and read back from files, while a row ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagingRow {
    /// Most of the worker's memory that was in swap when the load or a timed phase began or ended.
    pub worker_swap_bytes: Option<u64>,
    /// What the whole host read back from swap while the model was loaded.
    pub load_swap_read_bytes: Option<u64>,
    /// What it wrote to swap meanwhile.
    pub load_swap_written_bytes: Option<u64>,
    /// The same in the timed phases: read back.
    pub timed_swap_read_bytes: Option<u64>,
    /// Written.
    pub timed_swap_written_bytes: Option<u64>,
    /// Page faults of the worker in the timed phases that waited for a disk.
    pub timed_major_faults: Option<u64>,
    /// Whether these figures mark a run that swapped: the worker at all, or the host 1 MiB or more in either part.
    pub swapped: bool,
}

/// Weights of a row that stayed in main memory, where the GPU read them in place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OffloadRow {
    /// What was asked for: `auto`, `experts`, `all` or a number of layers.
    pub asked: String,
    /// Weights planned for the GPU.
    pub resident_bytes: u64,
    /// Weights in pinned main memory.
    pub mapped_bytes: u64,
    /// Tensors that these are.
    pub mapped_tensors: u32,
    /// All tensors.
    pub tensors: u32,
    /// Bytes that a decode step reads over the link, by shape.
    pub link_bytes_per_step: u64,
    /// Bytes that the prompt reads over the link, by shape and if each is read once.
    pub link_bytes_per_prompt: u64,
    /// Decode speed predicted from these bytes and the device's measured limits; null where those are not known.
    pub predicted_decode_tok_s: Option<f64>,
    /// Share of the median step that a pinned copy of these bytes would take; null where it was not measured.
    pub step_link_share: Option<f64>,
    /// The same of the median time to the first token.
    pub prompt_link_share: Option<f64>,
    /// How weights in main memory were read in each phase, and the times that decided it; null where nothing was tried.
    #[serde(default)]
    pub ways: Option<LinkWays>,
    /// CPU and GPU share one memory: what lies there is read in place, never copied, and part of the same budget.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unified_memory: bool,
    /// What the predicted speed rests on; absent where none was predicted, and in results of before the field was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction_basis: Option<String>,
    /// Predicted decode speed of the same plan over other links; nothing of it was measured there. Empty where all is on the GPU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<Elsewhere>,
    /// What the driver refused of a first plan with more weights on the GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A plan for weights in main memory over another link than that of the device that ran it: a prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The link, or the memory that CPU and GPU share.
    pub link: String,
    /// Its rate, bytes in a second.
    pub bytes_per_s: f64,
    /// Where the rate comes from.
    pub source: String,
    /// Predicted decode speed.
    pub predicted_decode_tok_s: f64,
}

/// How a warm-up of no fixed length ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Steady {
    /// Untimed repetitions.
    pub repetitions: u32,
    /// Whether the last two took the same time within `tolerance`; else a cap on their number or on their time ended it.
    pub reached: bool,
    /// How far apart the last two were, over the shorter; null where there was one.
    pub difference: Option<f64>,
    /// How far apart they may be.
    pub tolerance: f64,
    /// `steady`, or the cap that ended it: `repetitions` or `time`.
    pub ended_by: String,
}

/// What every KV cache was before there was a choice.
pub fn float() -> String {
    KvCache::Float.to_string()
}

/// How a graph that another program wrote is run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForeignRow {
    /// The graph's file.
    pub path: String,
    /// What wrote it, as it says.
    pub producer: Option<String>,
    /// Whether past and present of the KV cache are one buffer; null where it has no cache.
    pub cache_in_place: Option<bool>,
    /// Why not.
    pub cache_note: Option<String>,
    /// Whether decode steps are captured into a CUDA graph.
    pub graph: bool,
    /// Why not.
    pub graph_note: Option<String>,
    /// In a CUDA run: nodes that compute in main memory; null where there are none, or the runtime does not tell.
    pub host_nodes: Option<u64>,
    /// What these are for.
    pub host_note: Option<String>,
    /// Whether the whole sequence is run again for each token, for want of a KV cache.
    pub whole_sequence: bool,
    /// The tokenizer that stands beside it and made its prompts; null where another one did.
    pub tokenizer: Option<String>,
    /// Whether it computes logits of all positions of a prompt, where the last one's are asked for.
    pub all_logits: bool,
}

/// What came out of a model that is no decoder, in two passes over the same inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputCheck {
    /// Whether all of it is finite, and the passes differ by no more than `tolerance`.
    pub passed: bool,
    /// Outputs.
    pub outputs: u32,
    /// Numbers in them.
    pub values: u64,
    /// Of these, which are no finite numbers.
    pub not_finite: u64,
    /// The largest difference between the two passes, over the largest number of its output; 0 where they are equal bit by bit.
    pub difference: f64,
    /// How large it may be.
    pub tolerance: f64,
}

/// Parameter counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Params {
    /// Every stored parameter, a tied embedding once.
    pub total: u64,
    /// Parameters that take part for one token: k experts instead of all; null, from schema 1.3 on, where a graph of another program does not tell.
    pub active: Option<u64>,
    /// Parameters actually read per decoded token: `active` less the rows of lookup tables that are not read; null as above.
    pub active_read: Option<u64>,
}

/// A measured quantity with its spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Median of the samples.
    pub median: f64,
    /// Mean of the samples.
    pub mean: f64,
    /// Sample standard deviation (n - 1); null for one sample.
    pub sd: Option<f64>,
    /// 95 % bootstrap interval of the mean; null for one sample.
    pub ci95: Option<[f64; 2]>,
    /// Number of samples.
    pub n: u64,
    /// The samples, in order, where there are few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<Vec<f64>>,
    /// Quantiles, where there are many samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantiles: Option<Quantiles>,
}

/// Inter-token latency of neighbouring positions, over all repetitions: the times of `itl_ms`, told apart by how much context a step
/// reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItlAtPosition {
    /// Tokens of a sequence that the first of these steps reads, the one it is fed included: prompt tokens + 1 for the first step of
    /// all.
    pub first_context: u32,
    /// The same of the last of these steps.
    pub last_context: u32,
    /// Tokens that the steps generated, of all sequences and repetitions.
    pub tokens: u64,
    /// First quartile of the latencies, milliseconds.
    pub p25_ms: f64,
    /// Their median, milliseconds.
    pub median_ms: f64,
    /// Third quartile, milliseconds.
    pub p75_ms: f64,
}

/// Tail quantiles; null where n is too small for one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Median.
    pub p50: f64,
    /// 90th percentile, from 64 samples.
    pub p90: Option<f64>,
    /// 99th percentile, from 662 samples.
    pub p99: Option<f64>,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

/// Memory of one trial, in bytes. `loaded_peak = weights + kv + activations + runtime + unaccounted`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryRow {
    /// Largest use, as `method` says, above the empty worker's on the CPU. What the budget is held against.
    pub peak_bytes: Option<u64>,
    /// Phase in which that was.
    #[serde(default)]
    pub peak_phase: Option<String>,
    /// Largest use from the load on; less than `peak_bytes` where making the CUDA context took more for a moment.
    #[serde(default)]
    pub loaded_peak_bytes: Option<u64>,
    /// Largest use in the timed prefill phases.
    #[serde(default)]
    pub prefill_peak_bytes: Option<u64>,
    /// Largest use in the timed decode phases.
    #[serde(default)]
    pub decode_peak_bytes: Option<u64>,
    /// Use at the end.
    #[serde(default)]
    pub steady_bytes: Option<u64>,
    /// Weights.
    pub weights_bytes: Option<u64>,
    /// KV cache buffers.
    pub kv_bytes: Option<u64>,
    /// Activations and workspace.
    pub activations_bytes: Option<u64>,
    /// The runtime itself: library, context, modules.
    pub runtime_bytes: Option<u64>,
    /// Of the runtime, on a GPU: the CUDA context.
    #[serde(default)]
    pub runtime_context_bytes: Option<u64>,
    /// Of the runtime, on a GPU: what loading and first runs added to it, such as kernels, cuBLAS and captured graphs.
    #[serde(default)]
    pub runtime_libraries_bytes: Option<u64>,
    /// What is left to reach the peak.
    pub unaccounted_bytes: Option<i64>,
    /// What the runtime's arena holds of the device.
    #[serde(default)]
    pub arena_reserved_bytes: Option<u64>,
    /// The most of it that was in use at once.
    #[serde(default)]
    pub arena_live_peak_bytes: Option<u64>,
    /// The same with decode steps alone, before the first prompt.
    #[serde(default)]
    pub arena_decode_live_peak_bytes: Option<u64>,
    /// Limit that was set to the arena: what weights, caches and context left of the budget.
    #[serde(default)]
    pub arena_limit_bytes: Option<u64>,
    /// Cross-check: the largest drop of the device's free memory since the start, whoever caused it.
    #[serde(default)]
    pub free_memory_drop_bytes: Option<u64>,
    /// The budget.
    pub budget_bytes: u64,
    /// How the budget was held: `hard` or `soft`.
    #[serde(default)]
    pub enforced: Option<String>,
    /// By what means.
    #[serde(default)]
    pub enforced_how: Option<String>,
    /// Device memory that was left free for the trial, where memory was taken away.
    #[serde(default)]
    pub left_free_bytes: Option<u64>,
    /// Other processes that were on the GPU.
    #[serde(default)]
    pub other_processes: Option<Vec<GpuProcess>>,
    /// Predicted peak, before the trial; an estimate.
    pub predicted_peak_bytes: Option<u64>,
    /// Peak of host memory while loading, anonymous part, above the empty worker's.
    pub load_peak_anon_bytes: Option<u64>,
    /// Peak of host memory while loading, file-backed part, above the empty worker's.
    pub load_peak_file_bytes: Option<u64>,
    /// The largest weight tensor, for judging the two above.
    pub largest_tensor_bytes: Option<u64>,
    /// Where each figure comes from.
    pub method: String,
    /// The readings behind the figures: of each phase the first, the last and the largest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readings: Vec<MemoryReading>,
}

impl MemoryRow {
    /// The peak to compare with others. A CUDA context takes more in the moment in which it is made than a small model later, and a
    /// reading meets that moment in some runs and misses it in others: where that was the peak, the one with a model in memory counts.
    pub fn comparable_peak(&self) -> Option<u64> {
        match self.peak_phase.as_deref() {
            Some("runtime") => self.loaded_peak_bytes.or(self.peak_bytes),
            _ => self.peak_bytes,
        }
    }
}

/// What the device can do at most, measured once before the trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes read in a second.
    pub read_bytes_s: Option<f64>,
    /// Bytes read and written in a second by a copy.
    pub copy_bytes_s: Option<f64>,
    /// Bytes copied in a second from pinned main memory to the device.
    pub to_device_bytes_s: Option<f64>,
    /// Bytes copied in a second from the device to pinned main memory.
    pub from_device_bytes_s: Option<f64>,
    /// Seconds that launching one more tiny kernel takes.
    pub launch_s: Option<f64>,
    /// The same inside a captured CUDA graph.
    pub graph_launch_s: Option<f64>,
    /// Floating point operations in a second of a large matrix product.
    pub flop_s: Option<f64>,
    /// How each was measured.
    pub method: String,
}

/// What a row's work takes at least on its device. The work is counted by shape, the rates were measured (`environment.limits`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowLimits {
    /// Bytes of weights that a decode step reads.
    pub step_weight_bytes: u64,
    /// Bytes of KV cache that it reads, at the mean depth.
    pub step_kv_bytes: u64,
    /// Decode steps.
    pub decode: PhaseLimit,
    /// Floating point operations of the prompt.
    pub prefill_flop: f64,
    /// Prompts.
    pub prefill: PhaseLimit,
}

/// One phase against the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseLimit {
    /// Least time, milliseconds: reading what must be read at the faster of the measured read and copy rates, or computing what must be
    /// computed.
    pub floor_ms: f64,
    /// That over the measured time; above 1 only where caches take the place of memory.
    pub share: f64,
    /// Time to launch its kernels one after the other, over the measured time.
    pub launch_share: Option<f64>,
    /// `bandwidth`, `compute` or `launch` where that explains half of the time, `cache` where what it reads fits the caches, else
    /// `kernels`.
    pub bound: String,
    /// What would help.
    pub remedy: String,
}

/// Energy from the start of the first timed prefill to the end of the last timed decode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Mean power.
    pub mean_watts: f64,
    /// Energy.
    pub energy_j: f64,
    /// Energy for each generated token of each sequence, with its share of the prompts.
    pub per_token_j: f64,
    /// Length of what was measured.
    pub window_s: f64,
    /// Whose energy it is: `gpu`, `board` or `cpu`.
    pub measures: String,
    /// The decode steps alone, per token that they generate.
    pub decode: Option<EnergyWindow>,
    /// The prompts alone, per prompt token.
    pub prefill: Option<EnergyWindow>,
    /// Where the figures come from and what they cover.
    pub method: String,
}

/// Energy of one kind of phase, over all repetitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnergyWindow {
    /// Mean power.
    pub mean_watts: f64,
    /// Energy.
    pub energy_j: f64,
    /// Energy for each token of each sequence.
    pub per_token_j: f64,
    /// Length of the phases together.
    pub window_s: f64,
}

/// The device around the timed phases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceConditions {
    /// Before the first timed phase.
    pub start: Readings,
    /// After the last one.
    pub end: Option<Readings>,
    /// Throttle reasons seen at the edges of the timed phases, by name; empty when there were none.
    pub throttle_reasons: Option<Vec<String>>,
}

/// Readings of a device at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Readings {
    /// Clock of the GPU's multiprocessors.
    pub sm_clock_mhz: Option<u32>,
    /// Clock of the GPU's memory.
    pub memory_clock_mhz: Option<u32>,
    /// Clock of the first CPU.
    pub cpu_clock_mhz: Option<u32>,
    /// Temperature of the device the trial ran on.
    pub temperature_c: Option<f64>,
    /// Power limit in force.
    pub power_limit_w: Option<f64>,
    /// What held the clocks down, by name.
    pub throttle_reasons: Option<Vec<String>>,
}

/// Cost of one million generated tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Cost per 1,000,000 generated tokens.
    pub per_million_tokens: f64,
    /// Cost of one hour.
    pub per_hour: f64,
    /// Currency, a label.
    pub currency: String,
    /// The formula in words.
    pub formula: String,
    /// Price of the hardware, when amortised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_price: Option<f64>,
    /// Life of the hardware in hours, when amortised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_life_hours: Option<f64>,
    /// Flat price of an hour, when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flat_price_per_hour: Option<f64>,
    /// Price of a kilowatt-hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub electricity_price_per_kwh: Option<f64>,
    /// Mean power in watts, as given or measured.
    pub watts: Option<f64>,
    /// Where the watts come from, or why there are none.
    pub watts_source: String,
}

/// Comparison with the committed reference logits. With quantised weights these are computed from the same quantised weights,
/// turned back into numbers: so what the check fails on is how they are read, and not that they are quantised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Whether it passed.
    pub passed: bool,
    /// Largest allowed relative difference.
    pub tolerance: f64,
    /// Largest difference found over prefill, pieces, stepwise and decode.
    pub worst_error: f64,
    /// Whether the greedy ids were the reference's.
    pub ids_equal: bool,
    /// What quantising the weights changed, which no check fails on; absent where they are not quantised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Difference>,
}

/// Decode held to prefill: the logits after the last decode step against those of the same tokens, read again from the host. Decode steps
/// feed ids back on the device, write the cache in place and replay a captured CUDA graph, where there is one; what is read from the host does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecodeCheck {
    /// Whether it passed; a trial in which it did not is `failed`.
    pub passed: bool,
    /// Largest allowed difference.
    pub tolerance: f64,
    /// The largest difference of any sequence, relative to its largest logit.
    pub error: f64,
    /// Tokens of each sequence that had been read when the logits were compared.
    pub position: u32,
    /// How they were read again: in `pieces` as prompts are, or the prompt and then `tokens` one by one where pieces are
    /// rounded otherwise (8-bit activations, a router's choice of experts) or taken for one sequence only (fused attention).
    pub read: String,
}

/// Router weights of a mixture: each token goes to its number of experts, those its router likes most, by weights none of which is below
/// zero and which sum to 1, or to the chosen experts' shares of the softmax where the model does not renormalise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterCheck {
    /// Whether it passed; a trial in which it did not is `failed`.
    pub passed: bool,
    /// Where the weights were read: in the `outputs` of a graph of standard operators, through the `operator`, or in the `cache` of
    /// specialists. The operator is run on experts that each write to a place of their own, and with all but the chosen ones computing
    /// what is no number.
    pub read: String,
    /// Tokens that were looked at.
    pub tokens: u32,
    /// Experts a token went to, on average.
    pub experts_per_token: f64,
    /// Largest difference of a token's sum of weights from what it has to be.
    pub weight_sum_error: f64,
    /// Largest that is allowed.
    pub tolerance: f64,
}

/// Difference from the reference logits of the weights and the KV cache in fp32, on the same text. Of the larger models the
/// reference tells the logits of some ids, evenly spread over the vocabulary, and the most likely one of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Root mean square of the differences over that of the reference's logits: 0 where nothing changed, about 1.4 between models
    /// that have nothing to do with each other.
    pub error: f64,
    /// Positions at which the most likely token is the reference's.
    pub same_top: u32,
    /// Positions that were compared.
    pub positions: u32,
}

/// llama-bench's field names, where they mean the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LlamaBench {
    /// Test name: `pp256+tg128`.
    pub test: String,
    /// Model name.
    pub model_type: String,
    /// Bytes of weights.
    pub model_size: u64,
    /// Parameters.
    pub model_n_params: u64,
    /// Prompt tokens.
    pub n_prompt: u32,
    /// Generated tokens.
    pub n_gen: u32,
    /// Tokens in the cache before the test.
    pub n_depth: u32,
    /// Threads.
    pub n_threads: u32,
    /// Key cache type: `f16`, `f32`, `i8`.
    pub type_k: String,
    /// Value cache type.
    pub type_v: String,
    /// Start of the trial, RFC 3339 in UTC.
    pub test_time: Option<String>,
    /// Mean time of one repetition's decode (its `gen_tokens - 1` steps), nanoseconds.
    pub avg_ns: Option<u64>,
    /// Its standard deviation.
    pub stddev_ns: Option<u64>,
    /// Mean decode speed in tokens/s.
    pub avg_ts: Option<f64>,
    /// Its standard deviation.
    pub stddev_ts: Option<f64>,
    /// Decode time of each repetition.
    pub samples_ns: Vec<u64>,
    /// Decode speed of each repetition.
    pub samples_ts: Vec<f64>,
}
