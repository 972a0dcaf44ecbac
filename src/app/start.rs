//! What starts a worker: the program, and the engine it is to load.

use crate::error::{Error, Result};
use crate::payload::RuntimeLibrary;
use crate::protocol::EngineKind;
use crate::supervisor::WorkerCommand;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A probe that takes longer hangs: it loads a library and runs one addition.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(120);

/// This program as a worker.
pub fn worker() -> Result<WorkerCommand> {
    let program = std::env::current_exe().map_err(|error| {
        let cause = if Path::new("/proc/self/exe").exists() {
            error.to_string()
        } else {
            "there is no /proc/self/exe".to_owned()
        };
        Error::Runtime(format!(
            "could not start a worker: the path of this program is not known, because {cause}; mount /proc"
        ))
    })?;
    Ok(WorkerCommand {
        program,
        args: vec!["__worker".into()],
    })
}

/// ONNX Runtime, from this library.
pub fn runtime(library: RuntimeLibrary, cuda_dirs: &[PathBuf]) -> EngineKind {
    EngineKind::Onnx {
        library: library.path,
        cuda_dirs: cuda_dirs.to_vec(),
    }
}

/// The engine that follows a script.
pub fn script(file: &Path) -> EngineKind {
    EngineKind::Scripted {
        script: file.to_owned(),
    }
}
