//! Door of the engine room: what runs a graph, behind one trait. No process, pipe or clock policy here.

mod cuda;
mod host;
mod onnx;
mod scripted;

pub use scripted::{ScriptedDriver, ScriptedPower};

use crate::protocol::{
    EngineKind, FailureKind, Held, PROTOCOL, ProbeFacts, Request, SideGraph, TrialRequest,
    Yardsticks,
};
use crate::trial::{Arena, Choice, Device, DeviceChoice, DeviceLimits, LoadFacts};
use crate::units::{Bytes, Nanos};
use std::path::Path;

/// Why an engine gave up. Each holds one sentence.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// An allocation was refused.
    #[error("{0}")]
    OutOfMemory(String),
    /// The library is missing, broken or of the wrong version.
    #[error("{0}")]
    Runtime(String),
    /// The device cannot be used.
    #[error("{0}")]
    Device(String),
    /// The model cannot be loaded or run.
    #[error("{0}")]
    Model(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl EngineError {
    /// The word for it on the wire.
    pub fn kind(&self) -> FailureKind {
        match self {
            EngineError::OutOfMemory(_) => FailureKind::OutOfMemory,
            EngineError::Runtime(_) => FailureKind::Runtime,
            EngineError::Device(_) => FailureKind::Device,
            EngineError::Model(_) => FailureKind::Model,
            EngineError::Other(_) => FailureKind::Other,
        }
    }
}

/// A decoder that can be fed and stepped. The KV cache and the next ids stay inside.
pub trait Engine {
    /// Creates the session, weights and KV cache in place. `holds` tells the device memory of this process, where the driver does:
    /// what is left of the budget becomes the limit of the runtime's arena.
    fn load(&mut self, holds: &dyn Fn() -> Option<Bytes>) -> Result<LoadFacts, EngineError>;
    /// Forgets the sequences.
    fn reset(&mut self) -> Result<(), EngineError>;
    /// Appends ids (one row per sequence, equal lengths) and leaves the greedy next ids on the host;
    /// returns the time inside the runtime's run call and, where that only asks for the work, waiting for it.
    fn append(&mut self, rows: &[Vec<i64>]) -> Result<Nanos, EngineError>;
    /// Appends the previous next ids: one decode step, synchronised; returns the same time.
    fn step(&mut self) -> Result<Nanos, EngineError>;
    /// The greedy next id of each row after the last append or step.
    fn next_ids(&self) -> &[i64];
    /// Logits of the last position, `[batch * vocab]`, as f32.
    fn logits(&mut self) -> Result<Vec<f32>, EngineError>;
    /// What comes out of a pass of a model that is no decoder. Not timed.
    fn outputs(&mut self) -> Result<Vec<Output>, EngineError> {
        Err(EngineError::Other(
            "what comes out of a decoder is its logits".into(),
        ))
    }
    /// Device memory used by everybody now (total - free), where the device tells.
    fn device_used(&self) -> Option<Bytes>;
    /// What its routers decided since this was last asked; nothing where they do not tell, which is so unless the request asks.
    fn choices(&mut self) -> Result<Vec<Choice>, EngineError> {
        Ok(Vec::new())
    }
    /// Runs a graph beside the model's own, to its outputs; `None` where the engine runs no others.
    fn beside(&mut self, _graph: &SideGraph) -> Result<Option<Vec<Vec<f32>>>, EngineError> {
        Ok(None)
    }
    /// The weights that the router of a mixture of specialists gave each token of the first sequence, a row for each; `None` where
    /// there is no such router.
    fn specialist_weights(&mut self) -> Result<Option<Vec<f32>>, EngineError> {
        Ok(None)
    }
    /// What the runtime's allocator on the device says of itself, where it does.
    fn arena(&self) -> Option<Arena>;
}

/// An output of a model that is no decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<i64>,
    /// Its numbers; none where they are of a type that is not read.
    pub values: Vec<f64>,
}

/// Memory of a GPU that is kept from others until this is dropped.
pub trait Ballast {}

/// Takes memory of a GPU away, so that just `leave` stays free.
pub fn hold(
    engine: &EngineKind,
    device: u32,
    leave: Bytes,
) -> Result<(Box<dyn Ballast>, Held), EngineError> {
    match engine {
        EngineKind::Onnx { .. } => onnx::hold(engine, device, leave),
        EngineKind::Scripted { script } => scripted::hold(script, leave),
    }
}

/// How fast `device` is.
pub fn measure(
    engine: &EngineKind,
    device: Device,
    yardsticks: &Yardsticks,
    room: Bytes,
    threads: u32,
) -> Result<DeviceLimits, EngineError> {
    match engine {
        EngineKind::Onnx { library, cuda_dirs } => match device {
            Device::Cpu => onnx::measure_host(library, yardsticks, threads),
            Device::Cuda(index) => onnx::measure_gpu(library, cuda_dirs, index, yardsticks, room),
        },
        EngineKind::Scripted { script } => scripted::measure(script),
    }
}

/// Loads the engine's library; no session yet.
pub fn open(request: &TrialRequest) -> Result<Box<dyn Engine>, EngineError> {
    match &request.engine {
        EngineKind::Onnx { .. } => onnx::open(request),
        EngineKind::Scripted { script } => scripted::open(script, request),
    }
}

/// What the engine has to run on.
pub fn probe(engine: &EngineKind, device: DeviceChoice) -> Result<ProbeFacts, EngineError> {
    match engine {
        EngineKind::Onnx { .. } => onnx::probe(engine, device),
        EngineKind::Scripted { script } => scripted::probe(script),
    }
}

/// The driver that a script plays; `None` where the real one is to be asked.
pub fn scripted_driver(engine: &EngineKind) -> Result<Option<ScriptedDriver>, EngineError> {
    match engine {
        EngineKind::Onnx { .. } => Ok(None),
        EngineKind::Scripted { script } => scripted::driver(script).map(Some),
    }
}

/// Energy and state of the device that a script plays for a model.
pub fn scripted_power(script: &Path, model: &str) -> Result<ScriptedPower, EngineError> {
    scripted::power(script, model)
}

/// What the device that a script plays for a model has in use before the trial; `None` where it does not tell.
pub fn scripted_device_used(script: &Path, model: &str) -> Result<Option<Bytes>, EngineError> {
    scripted::device_used(script, model)
}

/// The protocol number a worker greets with: [`PROTOCOL`], unless a script plays a worker of another build.
pub fn greeting(request: &Request) -> u32 {
    let (engine, model) = match request {
        Request::Probe { engine, .. }
        | Request::Hold { engine, .. }
        | Request::Measure { engine, .. }
        | Request::Examine {
            engine: Some(engine),
            ..
        } => (engine, ""),
        Request::Examine { engine: None, .. }
        | Request::LockClocks { .. }
        | Request::RestoreClocks { .. } => return PROTOCOL,
        Request::Trial(request) => (&request.engine, request.trial.model.as_str()),
    };
    match engine {
        EngineKind::Onnx { .. } => PROTOCOL,
        EngineKind::Scripted { script } => scripted::greeting(script, model).unwrap_or(PROTOCOL),
    }
}
