//! The look at the machine: files, a worker's answers, what both mean. It always has something to tell.

use super::start::{self, Start};
use crate::cli::DoctorCommand;
use crate::device;
use crate::doctor::{self, Facts, Kernels, PayloadFacts, Program, Runtime};
use crate::error::{Error, Result};
use crate::export;
use crate::payload;
use crate::protocol::{EngineKind, Told};
use crate::supervisor::{self, Answers};
use std::path::Path;

/// The diagnosis as text or JSON.
pub fn run(command: &DoctorCommand) -> Result<String> {
    let found = start::find(
        command.script.as_deref(),
        command.ort.as_deref(),
        command.runtime_dir.as_deref(),
        &command.cuda_dirs,
    );
    let facts = Facts {
        program: Program {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: payload::COMMIT.map(str::to_owned),
            arch: std::env::consts::ARCH.into(),
        },
        device: command.device,
        machine: device::machine(command.root.as_deref().unwrap_or(Path::new("/"))),
        runtime: match &found {
            Ok(start) => Ok(Runtime {
                path: engine_path(&start.engine).display().to_string(),
                origin: start.origin.to_owned(),
            }),
            Err(error) => Err(error.to_string()),
        },
        answers: ask(command, &found),
        kernels: kernels(&found),
        payload: packed()?,
    };
    let diagnosis = doctor::diagnose(&facts);
    if command.json {
        export::doctor::json(&diagnosis)
    } else {
        Ok(export::doctor::text(&diagnosis))
    }
}

fn engine_path(engine: &EngineKind) -> &Path {
    match engine {
        EngineKind::Onnx { library, .. } => library,
        EngineKind::Scripted { script } => script,
    }
}

/// The GPU code of the CUDA provider beside the runtime.
fn kernels(found: &Result<Start>) -> Told<Kernels> {
    let Ok(Start {
        engine: EngineKind::Onnx { library, .. },
        ..
    }) = found
    else {
        return Err("there is no ONNX Runtime to look at".into());
    };
    let (cubins, ptx) = payload::provider_kernels(library)?;
    Ok(Kernels { cubins, ptx })
}

/// What this program carries. A damaged payload is told by the runtime's reason already.
fn packed() -> Result<Option<PayloadFacts>> {
    let Ok(Some(package)) = payload::own_package() else {
        return Ok(None);
    };
    let notice = |part: &&payload::Part| part.kind == payload::Kind::Notice;
    let parts = package.index.parts.iter().filter(|part| !notice(part));
    Ok(Some(PayloadFacts {
        parts: parts
            .map(|part| (part.name.clone(), crate::units::Bytes(part.bytes)))
            .collect(),
    }))
}

/// Asks a worker, unless the files are those of another machine.
fn ask(command: &DoctorCommand, found: &Result<Start>) -> Answers {
    if let (Some(root), None) = (&command.root, &command.script) {
        return Answers::none(&format!(
            "the files of {} are of another machine, so no worker was asked",
            root.display()
        ));
    }
    let look =
        |engine, worker| supervisor::examine(engine, command.device, worker, start::PROBE_TIMEOUT);
    match found {
        Ok(start) => look(Some(&start.engine), &start.worker),
        // Without a runtime a worker can still tell what the driver says.
        Err(error) => match payload::locate_worker(command.runtime_dir.as_deref()) {
            Ok(runtime) => Answers {
                probe: Err(error.to_string()),
                ..look(None, &start::worker(&runtime))
            },
            Err(worse) => failed(&worse),
        },
    }
}

fn failed(error: &Error) -> Answers {
    let reason = error.to_string();
    Answers {
        failure: Some(reason.clone()),
        ..Answers::none(&reason)
    }
}
