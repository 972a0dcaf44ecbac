//! The line protocol between supervisor and worker: one request line on the worker's stdin, JSON lines on its stdout.
//! Both sides import this file; it imports neither.

mod driver;
mod passes;
mod ports;
mod router;

pub use crate::trial::GpuProcess;
pub use driver::{DeviceMemory, DriverFacts, DriverGpu, Told};
pub use passes::{PassContent, PassDim, PassInput, PassIo};
pub use ports::{
    Axis, CachePorts, CacheUpdate, Fed, Fill, ForeignIo, HostNodes, Port, PortType,
    SHAPE_OPERATORS, Unnamed,
};
pub use router::{EXPERT_WRITES, RouterCheck, SideGraph, SideInput, SideOutput};

use crate::trial::{
    CheckFacts, DecodeFacts, DecodeRule, Device, DeviceChoice, DeviceLimits, DifferenceFacts,
    EnergySource, Enforce, Float, KvCache, LoadFacts, LockedClocks, MemoryReading, OutputFacts,
    Paging, Phase, PowerMark, Repetition, RoutedLayer, RouterFacts, Trial, WarmthFacts,
};
use crate::units::{Bytes, Nanos};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Raised whenever a message changes its meaning.
pub const PROTOCOL: u32 = 1;

/// What runs the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// ONNX Runtime, loaded from this library.
    Onnx {
        /// Path of `libonnxruntime.so`.
        library: PathBuf,
        /// Folders to look for CUDA libraries in before the usual places.
        cuda_dirs: Vec<PathBuf>,
    },
    /// A script of outcomes, for tests without hardware.
    Scripted {
        /// JSON file: a list of steps, see `engine::scripted`.
        script: PathBuf,
    },
}

/// How the decoder's inputs and outputs are laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecoderIo {
    /// One entry for each `past_key_values.N`: shape is `[batch, kv_heads, length, head_dim]`.
    pub caches: Vec<CacheShape>,
    /// Vocabulary size: last dimension of `logits`.
    pub vocab: u32,
    /// `true`: one KV buffer of full length for past and present, with `seqlens_k` and `total_sequence_length`.
    /// `false`: past grows by concatenation, with `attention_mask`.
    pub shared_kv: bool,
    /// Whether it is of the fused form: told lengths instead of a mask.
    pub fused: bool,
    /// Type of the keys and values in the caches.
    #[serde(default)]
    pub kv_cache: KvCache,
    /// Whether the graph has a `position_ids` input.
    pub position_ids: bool,
    /// Experts of the mixture-of-specialists router, whose weights over the sequence are a cache of their own.
    pub router_width: Option<u32>,
    /// Of a graph that another program wrote: then this alone tells how it is fed.
    #[serde(default)]
    pub foreign: Option<Box<ForeignIo>>,
    /// Of a model that is no decoder: then this alone tells how it is fed.
    #[serde(default)]
    pub pass: Option<Box<PassIo>>,
}

/// Shape of one layer's key (and value) cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheShape {
    /// Key/value heads.
    pub kv_heads: u32,
    /// Size of one head.
    pub head_dim: u32,
}

/// Element type of a weight tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// IEEE 754 binary32.
    Fp32,
    /// IEEE 754 binary16.
    Fp16,
    /// Bytes: quantised weights, several in one or one in each.
    Uint8,
}

impl Element {
    /// Size of one element in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Element::Fp32 => 4,
            Element::Fp16 => 2,
            Element::Uint8 => 1,
        }
    }
}

impl From<Float> for Element {
    fn from(float: Float) -> Element {
        match float {
            Float::Fp32 => Element::Fp32,
            Float::Fp16 => Element::Fp16,
        }
    }
}

/// A weight tensor of a graph, in the file of weights beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightTensor {
    /// The initializer's name.
    pub name: String,
    /// Dimensions.
    pub dims: Vec<i64>,
    /// Type of its elements.
    pub element: Element,
    /// First byte in the file.
    pub offset: u64,
    /// The CUDA provider packs it into a layout of its own when a model is loaded, and needs the bytes of the file no longer.
    /// Such tensors stand behind all others in the file.
    pub repacked: bool,
    /// It stays in main memory, where the GPU reads it.
    #[serde(default)]
    pub mapped: bool,
    /// Bits of its codes where the engine moves them, when it loads them, to where the CUDA provider's kernels read them.
    #[serde(default)]
    pub packed: Option<u32>,
}

/// A graph that runs a few experts with codes that ONNX Runtime packs and with those that the engine packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackingCheck {
    /// The ONNX file.
    pub graph: PathBuf,
    /// Names of the weights in it that the engine packed.
    pub packed: Vec<String>,
    /// Width of its input and its outputs.
    pub width: u32,
    /// Experts of the layer.
    pub experts: u32,
    /// Those that run, the first ones.
    pub few: u32,
}

/// A committed reference to hold a model to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    /// Prompt ids.
    pub prompt: Vec<i64>,
    /// Logits after the prompt, then after each greedy token: `ids.len()` rows of `vocab`.
    pub logits: Vec<Vec<f32>>,
    /// Greedy ids, the first one from the prompt.
    pub ids: Vec<i64>,
}

/// Logits of a fixed text in fp32, sampled over the vocabulary, to tell how far others are from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextLogits {
    /// The text.
    pub text: Vec<i64>,
    /// The most likely id of the whole vocabulary at each of its last positions.
    pub top: Vec<i64>,
    /// Ids of the vocabulary that logits are told of.
    pub sampled: Vec<u32>,
    /// Their logits: a row of `sampled.len()` for each of `top`.
    pub logits: Vec<Vec<f32>>,
}

/// Supervisor to worker: the one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// What is there to run on?
    Probe {
        /// What to load.
        engine: EngineKind,
        /// Which device to look at.
        device: DeviceChoice,
    },
    /// What does the driver say, and is there something to run on? Answered bit by bit, so that what was said before a
    /// failure is known.
    Examine {
        /// What to load; `None` to ask the driver only.
        engine: Option<EngineKind>,
        /// Which device to look at.
        device: DeviceChoice,
    },
    /// Take memory of a GPU away, so that just so much stays free, and keep it until standard input closes.
    Hold {
        /// What to load.
        engine: EngineKind,
        /// The GPU.
        device: u32,
        /// What is to stay free.
        leave: Bytes,
        /// Where the GPU sits; to be refused where others use it, and `None` to take the memory all the same.
        alone_on: Option<String>,
    },
    /// Lock the clocks of a GPU, and restore them when standard input closes.
    LockClocks {
        /// The GPU's index, where nothing is known of where it sits.
        device: u32,
        /// Where the GPU sits, as CUDA told.
        bus_id: Option<String>,
        /// Folder of the notes on clocks that are locked.
        folder: PathBuf,
    },
    /// Restore the clocks that a run left locked.
    RestoreClocks {
        /// Folder of the notes on clocks that are locked.
        folder: PathBuf,
    },
    /// How fast is the device?
    Measure {
        /// What to load.
        engine: EngineKind,
        /// The device.
        device: Device,
        /// Graphs to measure with.
        yardsticks: Yardsticks,
        /// Device memory that may be used meanwhile.
        room: Bytes,
        /// Threads of the CPU.
        threads: u32,
    },
    /// Run one trial.
    Trial(Box<TrialRequest>),
}

/// A trial with everything the worker needs to run it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialRequest {
    /// The trial.
    pub trial: Trial,
    /// What runs it.
    pub engine: EngineKind,
    /// The ONNX file.
    pub graph: PathBuf,
    /// The same graph with weights that are copied from main memory before they are used; `None` where none are there.
    #[serde(default)]
    pub copies_graph: Option<PathBuf>,
    /// What shows that experts which the engine packs are what they were; `None` where it packs none.
    #[serde(default)]
    pub packing_check: Option<PackingCheck>,
    /// Its inputs and outputs.
    pub io: DecoderIo,
    /// Bytes of weights the graph refers to.
    pub weights: Bytes,
    /// The largest weight tensor.
    pub largest_tensor: Bytes,
    /// The file of weights.
    pub weight_file: PathBuf,
    /// The tensors in it that the graph refers to.
    pub tensors: Vec<WeightTensor>,
    /// Prompt ids, one row for each sequence, all of the trial's prompt length.
    pub prompts: Vec<Vec<i64>>,
    /// Reference to check against before timing: of weights and KV cache as they are, also where they are quantised.
    pub golden: Option<Golden>,
    /// Reference of weights and KV cache in fp32, where either of the trial's is quantised: to tell what that changed.
    #[serde(default)]
    pub unquantized: Option<Golden>,
    /// Largest allowed relative difference from the reference.
    pub tolerance: f64,
    /// How decode is held to prefill at the end of the trial; `None` to compare nothing.
    #[serde(default)]
    pub decode_rule: Option<DecodeRule>,
    /// Logits in fp32 to compare with after that; `None` to compare nothing.
    #[serde(default)]
    pub fp32_text: Option<TextLogits>,
    /// How the router's weights are looked at, after that; `None` to look at none.
    #[serde(default)]
    pub router_check: Option<RouterCheck>,
    /// Run the whole sequence again for each token, as the published study does, instead of decoding with the KV cache.
    #[serde(default)]
    pub whole_sequence: bool,
    /// Look at what comes out of a model that is no decoder, after everything was measured.
    #[serde(default)]
    pub output_check: bool,
    /// Only tell where the routers send the tokens of the first prompt; nothing is timed.
    #[serde(default)]
    pub routing: bool,
    /// Pause between memory readings; `None` to read at the ends of phases only.
    pub sample_interval: Option<Nanos>,
    /// Whether the trial's GPU takes its memory from the CPU's.
    #[serde(default)]
    pub unified_memory: bool,
    /// How firmly the budget is held.
    pub enforce: Enforce,
    /// Whether that was asked for, so that it holds whoever else uses the GPU.
    #[serde(default)]
    pub enforce_asked: bool,
    /// Why not more firmly, where that was not the user's choice.
    pub enforce_note: Option<String>,
    /// Free memory of the device when it was probed, where it is known.
    pub device_free: Option<Bytes>,
    /// Where the trial's GPU sits, as CUDA told.
    #[serde(default)]
    pub bus_id: Option<String>,
    /// Other processes on the GPU fail the trial.
    pub exclusive: bool,
}

/// Graphs to measure a device with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Yardsticks {
    /// A chain of kernels, input `x` and output `y` of one float, and how many there are.
    pub short_chain: (PathBuf, u32),
    /// A longer one.
    pub long_chain: (PathBuf, u32),
    /// A product of square matrices, inputs `a` and `b`, output `c`.
    pub product: PathBuf,
    /// Edge of the matrices.
    pub edge: u32,
    /// Their element type.
    pub float: Float,
}

/// What a process that takes memory away has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What it allocated.
    pub taken: Bytes,
    /// What stays free.
    pub free: Bytes,
}

/// What stands behind the name of a CUDA library that was found nowhere, at the start of [`ProbeFacts::cuda_unavailable`]. Who says
/// it and who understands it take it from here.
pub const FOUND_NOWHERE: &str = ", which the CUDA provider needs, was found neither";

/// What a probing worker found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeFacts {
    /// Version of ONNX Runtime, for example `1.31.1`.
    pub runtime_version: String,
    /// Build information string, when the library tells it.
    pub runtime_build: Option<String>,
    /// Providers compiled into the library.
    pub providers: Vec<String>,
    /// The GPU, when CUDA can be used.
    pub gpu: Option<GpuFacts>,
    /// Why CUDA cannot be used, when it was asked for or looked for and cannot.
    pub cuda_unavailable: Option<String>,
    /// How far the look at CUDA came, also where it ended badly; `None` where its libraries could not be loaded.
    #[serde(default)]
    pub cuda_seen: Option<CudaSeen>,
}

/// What CUDA told before it was known whether it can be used. `None` is "it did not come so far".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CudaSeen {
    /// CUDA libraries that were loaded, by path.
    pub libraries: Vec<String>,
    /// Version of the CUDA runtime.
    pub version: Option<String>,
    /// GPUs that CUDA shows this process.
    pub devices: Option<u32>,
    /// Compute capability of the GPU looked at.
    pub compute_capability: Option<String>,
    /// Whether it shares the CPU's memory.
    pub unified_memory: Option<bool>,
    /// Its memory.
    pub memory: Option<DeviceMemory>,
}

/// A GPU that can be used, as the CUDA runtime and NVML describe it. `None` is "not told", never 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuFacts {
    /// Index among the visible devices.
    pub index: u32,
    /// Marketing name.
    pub name: String,
    /// Where it sits, such as `0000:3B:00.0`, as CUDA tells.
    #[serde(default)]
    pub bus_id: Option<String>,
    /// Compute capability, for example `9.0`.
    pub compute_capability: String,
    /// Total memory.
    pub memory_total: Bytes,
    /// Free memory when probed.
    pub memory_free: Bytes,
    /// Whether a display is drawn by it.
    #[serde(default)]
    pub display_active: Option<bool>,
    /// Other processes on it when probed.
    #[serde(default)]
    pub others: Option<Vec<GpuProcess>>,
    /// Memory that the probe itself held on it after one addition: context, provider, libraries.
    #[serde(default)]
    pub probe_bytes: Option<Bytes>,
    /// One pool for CPU and GPU (Jetson, GB10).
    pub unified_memory: bool,
    /// Driver version.
    pub driver_version: Option<String>,
    /// CUDA runtime version.
    pub cuda_version: Option<String>,
    /// Power limit.
    pub power_limit_mw: Option<u64>,
    /// SM clock when probed.
    pub sm_clock_mhz: Option<u32>,
    /// Memory clock when probed.
    pub memory_clock_mhz: Option<u32>,
    /// Temperature when probed.
    pub temperature_c: Option<u32>,
    /// CUDA libraries in use, by path.
    pub libraries: Vec<String>,
}

/// Why a worker gave up, so that the supervisor need not read prose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// ONNX Runtime is missing, broken or of the wrong version.
    Runtime,
    /// The device cannot be used.
    Device,
    /// An allocation was refused.
    OutOfMemory,
    /// The model cannot be loaded or run.
    Model,
    /// Anything else.
    Other,
}

/// Worker to supervisor: one line each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub enum Message {
    /// First line: who is speaking.
    Hello {
        /// [`PROTOCOL`] of the worker.
        protocol: u32,
        /// Version of the worker's program.
        version: String,
        /// Process id.
        pid: u32,
    },
    /// A phase begins.
    Phase {
        /// Which.
        phase: Phase,
        /// Time since the worker started.
        at: Nanos,
    },
    /// Memory, when a phase begins or ends and whenever it reached a new peak.
    Memory(MemoryReading),
    /// Swap and page faults so far, when the load or a timed phase ends.
    Paging(Paging),
    /// Other processes on the GPU, at the start and at the end of a trial, or why nobody knows.
    Others {
        /// All but the worker itself.
        processes: Told<Vec<GpuProcess>>,
    },
    /// Answer to [`Request::Hold`].
    Holding(Held),
    /// Answer to [`Request::LockClocks`].
    ClocksLocked(Box<LockedClocks>),
    /// Answer to [`Request::RestoreClocks`].
    ClocksRestored {
        /// One sentence for each GPU; an error where its clocks could not be restored.
        said: Vec<Told<String>>,
    },
    /// Answer to [`Request::Measure`].
    Measured(Box<DeviceLimits>),
    /// What tells the energy of this trial, or why nothing does; said once, before the timed phases.
    EnergySource {
        /// The source.
        source: Told<EnergySource>,
    },
    /// Energy and state of the device, when a timed phase begins or ends.
    Power(Box<PowerMark>),
    /// First answer to [`Request::Examine`].
    Driver {
        /// The driver's facts, or why NVML cannot be used.
        facts: Box<Told<DriverFacts>>,
    },
    /// Last answer to [`Request::Examine`].
    OwnProcess {
        /// What NVML says this process holds on the GPU, or why it does not.
        bytes: Told<Bytes>,
    },
    /// Answer to [`Request::Probe`], and to [`Request::Examine`] where it names an engine.
    Probed(Box<ProbeFacts>),
    /// The model is loaded.
    Loaded(LoadFacts),
    /// The reference was compared.
    Checked(CheckFacts),
    /// An untimed repetition is finished.
    WarmedUp(Repetition),
    /// How the untimed repetitions ended, where they went on until times were steady.
    Warmth(WarmthFacts),
    /// A timed repetition is finished.
    Repetition {
        /// Its timing.
        timing: Repetition,
        /// First generated ids of row 0.
        first_ids: Vec<i64>,
    },
    /// Decode was held to prefill, or could not be, and why.
    DecodeChecked {
        /// What was found.
        facts: Told<DecodeFacts>,
    },
    /// The logits of a fixed text were compared with those in fp32, or could not be, and why.
    Fp32Compared {
        /// What was found.
        facts: Told<DifferenceFacts>,
    },
    /// What came out of a model that is no decoder was looked at.
    OutputsChecked {
        /// What was found.
        facts: OutputFacts,
    },
    /// The weights of the routers were looked at, or could not be, and why.
    RouterChecked {
        /// What was found.
        facts: Told<RouterFacts>,
    },
    /// Where the routers sent the tokens of a prompt.
    Routed {
        /// Each router; none where nothing was told.
        layers: Vec<RoutedLayer>,
    },
    /// Everything was sent; the worker leaves with exit code 0.
    Done,
    /// The worker gives up.
    Failed {
        /// Why, for the supervisor.
        kind: FailureKind,
        /// Why, for people: one sentence.
        reason: String,
    },
}
