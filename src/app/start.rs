//! What starts a worker: the program, the engine it is to load, and the unpacked payload that both may lie in.

use crate::error::Result;
use crate::payload::{self, Runtime};
use crate::protocol::EngineKind;
use crate::supervisor::WorkerCommand;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A probe that takes longer hangs: it loads a library and runs one addition.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(120);

/// Everything a worker needs.
pub struct Start {
    /// The program.
    pub worker: WorkerCommand,
    /// What it loads.
    pub engine: EngineKind,
    /// Who named the runtime.
    pub origin: &'static str,
    /// What the user should know, if anything.
    pub note: Option<String>,
    // Held so that nobody clears an unpacked runtime away meanwhile.
    _runtime: Runtime,
}

/// Finds ONNX Runtime, or takes the script in its place, and the worker that goes with it.
pub fn find(
    script: Option<&Path>,
    ort: Option<&Path>,
    runtime_dir: Option<&Path>,
    cuda_dirs: &[PathBuf],
) -> Result<Start> {
    let (runtime, engine, origin) = match script {
        Some(script) => {
            let engine = EngineKind::Scripted {
                script: script.to_owned(),
            };
            // A script needs a worker, but no library.
            (payload::locate_worker(runtime_dir)?, engine, "--engine")
        }
        None => {
            let runtime = payload::locate(ort, runtime_dir)?;
            let engine = EngineKind::Onnx {
                library: runtime.library.clone(),
                // What travels with the program comes before what is installed.
                cuda_dirs: runtime.payload.iter().chain(cuda_dirs).cloned().collect(),
            };
            let origin = runtime.origin;
            (runtime, engine, origin)
        }
    };
    Ok(Start {
        worker: worker(&runtime),
        engine,
        origin,
        note: runtime.note.clone(),
        _runtime: runtime,
    })
}

/// The command of a runtime's worker.
pub fn worker(runtime: &Runtime) -> WorkerCommand {
    WorkerCommand {
        program: runtime.worker.clone(),
        args: vec!["__worker".into()],
    }
}
