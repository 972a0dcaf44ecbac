//! Plain data that crosses rooms: what a trial is, and the raw facts that come back from one.
//! No behaviour beyond names, no I/O.

mod checks;
mod clocks;
mod limits;
mod memory;
mod numerics;
mod offload;
mod paging;
mod pass;
mod pool;
mod power;
mod routing;
mod tuning;

pub use checks::{CheckFacts, DecodeFacts, DecodeRule, DifferenceFacts, Reading};
pub use clocks::{ClocksBefore, LockedClocks};
pub use limits::DeviceLimits;
pub use memory::{Arena, Enforce, Enforcement, GpuProcess, MemoryReading};
// Only a worker makes one.
pub use numerics::{Float, KvCache, Numerics, Precision};
pub use offload::{LinkWay, LinkWays, Offload, OffloadFacts};
pub use paging::{Paging, Swapped};
pub use pass::{OutputFacts, Pass};
pub use pool::{PoolReading, PoolSource};
#[cfg(not(target_feature = "crt-static"))]
pub use power::PowerReading;
pub use power::{DeviceState, Edge, EnergySource, PowerLog, PowerMark, PowerSample, slowing};
pub use routing::{Choice, RoutedLayer, RouterFacts, RouterRead};
pub use tuning::{TUNINGS, TuningName, can_be_tuned};

use crate::units::{Bytes, Nanos};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How a model's graph is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Standard ONNX operators only; the KV cache grows by concatenation.
    Plain,
    /// ONNX Runtime's contributed operators; the KV cache is one buffer updated in place.
    Fused,
}

/// How the KV cache of a fused graph takes up new keys and values. A plain graph's is always copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvUpdate {
    /// They are written into one buffer, which is past and present at once.
    #[default]
    InPlace,
    /// Each step copies the past into another buffer: what the operator does where past and present are not the same one.
    Copied,
}

/// The device a trial runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// ONNX Runtime's CPU provider.
    Cpu,
    /// ONNX Runtime's CUDA provider on the GPU with this index.
    Cuda(u32),
}

/// The device the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// CUDA where a GPU and a provider that runs on it are present, else the CPU, with one line that says why.
    Auto,
    /// The CPU provider.
    Cpu,
    /// The CUDA provider on this GPU; never falls back.
    Cuda(u32),
}

macro_rules! display_lowercase {
    ($type:ty, $($variant:pat => $name:expr),+ $(,)?) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $($variant => f.pad($name)),+ }
            }
        }
    };
}
display_lowercase!(Form, Form::Plain => "plain", Form::Fused => "fused");

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.pad("cpu"),
            Device::Cuda(index) => f.pad(&format!("cuda:{index}")),
        }
    }
}

/// One cell of the plan: a model in one form, precision and shape, run in a process of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Stable name, equal on every machine: `dense-120m/fused/fp32/b1/pp256/tg128`, with `/kv8` behind it for a cache in int8.
    pub id: String,
    /// Model name.
    pub model: String,
    /// Graph form.
    pub form: Form,
    /// Type of the weights.
    pub precision: Precision,
    /// Type of the KV cache.
    #[serde(default)]
    pub kv_cache: KvCache,
    /// How a fused graph's KV cache grows.
    #[serde(default)]
    pub kv_update: KvUpdate,
    /// Tokens that the KV cache has room for, where that is more than the sequence needs.
    #[serde(default)]
    pub kv_room: Option<u32>,
    /// Device.
    pub device: Device,
    /// Sequences decoded together.
    pub batch: u32,
    /// Prompt length of each sequence, in tokens.
    pub prompt_tokens: u32,
    /// Tokens generated for each sequence; the first comes out of prefill.
    pub gen_tokens: u32,
    /// Timed repetitions.
    pub repetitions: u32,
    /// Untimed repetitions before them.
    pub warmup: u32,
    /// Go on with these until the last two take the same time, or a cap is reached.
    #[serde(default)]
    pub steady: bool,
    /// Intra-op threads of ONNX Runtime (CPU provider).
    pub threads: u32,
    /// Capture decode into a CUDA graph (CUDA provider, fused form).
    pub cuda_graph: bool,
    /// Seed of the built-in weights.
    pub seed: u64,
    /// Memory budget.
    pub budget: Bytes,
    /// Which weights stay in main memory.
    #[serde(default, skip_serializing_if = "is_resident")]
    pub offload: Offload,
    /// Of a model that is no decoder: what its passes run over. Such a trial has no tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Pass>,
    /// Tunings of the runtime that its worker is started with. No part of `id`: they change how fast the same work is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tuning: Vec<TuningName>,
}

/// Whether all weights are on the GPU.
fn is_resident(offload: &Offload) -> bool {
    *offload == Offload::None
}

#[cfg(test)]
impl Trial {
    /// A trial for tests, which say what of it they mean.
    pub fn example() -> Trial {
        Trial {
            id: String::new(),
            model: String::new(),
            form: Form::Fused,
            precision: Precision::Fp32,
            kv_cache: KvCache::Float,
            kv_update: KvUpdate::InPlace,
            kv_room: None,
            device: Device::Cpu,
            batch: 1,
            prompt_tokens: 8,
            gen_tokens: 8,
            repetitions: 1,
            warmup: 0,
            steady: false,
            threads: 1,
            cuda_graph: false,
            offload: Offload::None,
            tuning: Vec::new(),
            pass: None,
            seed: 0,
            budget: Bytes(0),
        }
    }
}

impl Trial {
    /// The number formats of its graph.
    pub fn numerics(&self) -> Numerics {
        self.precision.on(self.device)
    }

    /// Tokens of each sequence: prompt and generated ones.
    pub fn sequence(&self) -> u32 {
        self.prompt_tokens.saturating_add(self.gen_tokens)
    }

    /// Tokens that its KV cache has room for: those of a sequence at least.
    pub fn context(&self) -> u32 {
        self.sequence().max(self.kv_room.unwrap_or(0))
    }

    /// The end of an id that tells caches with more room apart from others.
    pub fn room_suffix(kv_room: Option<u32>) -> String {
        kv_room.map_or_else(String::new, |room| format!("/ctx{room}"))
    }

    /// Whether one buffer is past and present of its KV cache.
    pub fn kv_in_place(&self) -> bool {
        self.form == Form::Fused && self.kv_update == KvUpdate::InPlace
    }
}

/// Where in a trial a worker is. Deadlines, peaks and failures are reported by phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The process started; ONNX Runtime is not loaded.
    Start,
    /// ONNX Runtime's library is loaded; no session yet.
    Runtime,
    /// The session is being created: graph, weights, KV cache.
    Load,
    /// Logits are compared with the committed reference.
    Check,
    /// Untimed repetitions.
    Warmup,
    /// Timed prompt processing.
    Prefill,
    /// Timed token generation.
    Decode,
    /// What was generated is read again, to hold decode to prefill, and a fixed text, to hold logits to those in fp32. Nothing of it is timed, and its memory is not the trial's.
    SelfCheck,
}
display_lowercase!(Phase, Phase::Start => "start", Phase::Runtime => "runtime", Phase::Load => "load", Phase::Check => "check",
    Phase::Warmup => "warmup", Phase::Prefill => "prefill", Phase::Decode => "decode",
    Phase::SelfCheck => "selfcheck");

/// What loading a model took and left behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadFacts {
    /// Time to create the session, weights in place.
    pub session: Nanos,
    /// The execution provider that holds the compute nodes, for example `CUDAExecutionProvider`.
    pub provider: String,
    /// Bytes of weights the graph refers to.
    pub weights: Bytes,
    /// Bytes of the KV cache buffers, all of them (a growing cache has two).
    pub kv_cache: Bytes,
    /// Bytes of the other input and output buffers edgebench allocated.
    pub io_buffers: Bytes,
    /// What the device gave for the weights: free memory before less after.
    #[serde(default)]
    pub weights_taken: Option<Bytes>,
    /// What the device gave for the KV cache and the other buffers: free memory before less after.
    #[serde(default)]
    pub buffers_taken: Option<Bytes>,
    /// What the arena held once the session was made and before anything ran: weights that the runtime packed anew.
    #[serde(default)]
    pub packed: Option<Bytes>,
    /// Limit of the runtime's arena, where one was set.
    #[serde(default)]
    pub arena_limit: Option<Bytes>,
    /// Bytes of weights in main memory, which the GPU reads in place.
    #[serde(default)]
    pub mapped: Bytes,
    /// How weights in main memory are read in each phase, where there are any.
    #[serde(default)]
    pub link_ways: Option<LinkWays>,
    /// The largest single weight tensor.
    pub largest_tensor: Bytes,
    /// How the KV cache grows: `in place`, `copied` (fused graphs) or `concatenated` (plain ones).
    pub kv_mode: String,
    /// Where the nodes run; `None` where the runtime does not tell (before 1.24).
    #[serde(default)]
    pub placement: Option<Placement>,
    /// Why decode steps are not captured into a CUDA graph, where that was asked for and is not done.
    #[serde(default)]
    pub not_captured: Option<String>,
}

/// Where the nodes of a graph run, after optimisation, as the runtime says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Number of nodes on each execution provider.
    pub nodes: BTreeMap<String, u64>,
    /// In a CUDA run: the operators that compute shapes on the host, with their number.
    pub host_operators: BTreeMap<String, u64>,
}

/// Raw timing of one repetition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repetition {
    /// The runtime's run call for the prompt, synchronised.
    pub prefill: Nanos,
    /// From handing over the prompt's ids to having the first new id on the host.
    pub ttft: Nanos,
    /// From one new id to the next, synchronised: `gen_tokens - 1` values.
    pub itl: Vec<Nanos>,
    /// Part of the sum of `itl` spent neither inside the runtime's run call nor waiting for what it asked of the device.
    pub outside_run: Nanos,
}

/// How a warm-up of no fixed length ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WarmthFacts {
    /// Untimed repetitions.
    pub repetitions: u32,
    /// How far apart the last two were, over the shorter; `None` where there was one.
    pub difference: Option<f64>,
    /// How far apart they may be.
    pub tolerance: f64,
    /// What ended it.
    pub end: WarmthEnd,
}

/// What ended a warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WarmthEnd {
    /// The last two repetitions took the same time.
    Steady,
    /// The cap on their number.
    Repetitions,
    /// The cap on their time.
    Time,
}
display_lowercase!(WarmthEnd, WarmthEnd::Steady => "steady", WarmthEnd::Repetitions => "repetitions", WarmthEnd::Time => "time");

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Everything was measured.
    Ok,
    /// Predicted to need more than the budget, or longer than the model's positions. It was not run.
    DoesNotFit {
        /// One sentence: what is needed, what there is, what would fit.
        reason: String,
    },
    /// The runtime or the system refused an allocation, or the trial was seen to take more than the budget.
    OutOfMemory {
        /// Phase in which it happened.
        phase: Phase,
        /// The size that was refused, or all that was taken where that was more than the budget; `None` where nobody tells.
        #[serde(default)]
        requested: Option<Bytes>,
        /// One sentence.
        reason: String,
    },
    /// A phase outlasted the deadline.
    TimedOut {
        /// Phase that was running.
        phase: Phase,
        /// One sentence.
        reason: String,
    },
    /// The worker died.
    Crashed {
        /// Phase that was running.
        phase: Phase,
        /// One sentence with the signal or exit status.
        reason: String,
        /// Last lines of its stderr.
        stderr_tail: String,
    },
    /// The worker said it could not, or said something that is not the protocol.
    Failed {
        /// Phase that was running.
        phase: Phase,
        /// One sentence.
        reason: String,
    },
}

impl Outcome {
    /// The word used in results: `ok`, `does_not_fit`, `out_of_memory`, `timed_out`, `crashed`, `failed`.
    pub fn status(&self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::DoesNotFit { .. } => "does_not_fit",
            Outcome::OutOfMemory { .. } => "out_of_memory",
            Outcome::TimedOut { .. } => "timed_out",
            Outcome::Crashed { .. } => "crashed",
            Outcome::Failed { .. } => "failed",
        }
    }

    /// Why it is not `ok`.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Outcome::Ok => None,
            Outcome::DoesNotFit { reason }
            | Outcome::OutOfMemory { reason, .. }
            | Outcome::TimedOut { reason, .. }
            | Outcome::Crashed { reason, .. }
            | Outcome::Failed { reason, .. } => Some(reason),
        }
    }
}

/// Everything that came back from one trial, as measured. Analysis happens in `stats` and `report`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialResult {
    /// What was run.
    pub trial: Trial,
    /// How it ended.
    pub outcome: Outcome,
    /// Facts of the load, when it got that far.
    pub load: Option<LoadFacts>,
    /// Timed repetitions that were finished.
    pub repetitions: Vec<Repetition>,
    /// How the warm-up ended, where it went on until times were steady.
    #[serde(default)]
    pub warmth: Option<WarmthFacts>,
    /// The untimed first repetition, kept to warn about a slow first run.
    pub first_run: Option<Repetition>,
    /// Comparison with the committed reference, for models that have one.
    pub check: Option<CheckFacts>,
    /// Decode held to prefill, or why it could not be; `None` where that was not asked for or not reached.
    #[serde(default)]
    pub decode_check: Option<Result<DecodeFacts, String>>,
    /// What came out of a model that is no decoder; `None` where that was not asked for or not reached.
    #[serde(default)]
    pub output_check: Option<OutputFacts>,
    /// Difference from the logits in fp32, or why they could not be compared; `None` where there are none, that was not asked for or
    /// not reached.
    #[serde(default)]
    pub fp32_difference: Option<Result<DifferenceFacts, String>>,
    /// What its routers' weights are, or why nobody could see them; `None` where that was not asked for or not reached.
    #[serde(default)]
    pub router_check: Option<Result<RouterFacts, String>>,
    /// Memory readings: the first, the last and the largest of each phase.
    pub memory: Vec<MemoryReading>,
    /// How the budget was held; `None` for a trial that was not started.
    #[serde(default)]
    pub enforcement: Option<Enforcement>,
    /// Other processes seen on the GPU at the start or the end, or why nobody knows; `None` where no GPU was used.
    #[serde(default)]
    pub others: Option<Result<Vec<GpuProcess>, String>>,
    /// Energy and state of the device, read around the timed phases.
    #[serde(default)]
    pub power: PowerLog,
    /// Swap and page faults while it ran; `None` where its load did not end.
    #[serde(default)]
    pub paging: Option<Paging>,
    /// Where its weights were put, where some were to stay in main memory.
    #[serde(default)]
    pub offload: Option<OffloadFacts>,
    /// Where its routers sent the tokens of a text, where that was what the trial was for.
    #[serde(default)]
    pub routing: Vec<RoutedLayer>,
    /// First generated ids of row 0, to tell equal runs from different ones.
    pub first_ids: Vec<i64>,
    /// Wall time of the whole trial, process start to exit; `None` for one that was not started.
    pub wall: Option<Nanos>,
}
