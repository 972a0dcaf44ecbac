//! The look at the machine: files, a worker's answers, what both mean. It always has something to tell.

use super::start;
use crate::cli::DoctorCommand;
use crate::device;
use crate::doctor::{self, Facts, Program, Runtime};
use crate::error::Result;
use crate::export;
use crate::payload;
use crate::protocol::{EngineKind, Told};
use crate::supervisor::{self, Answers};
use std::path::Path;

/// The diagnosis as text or JSON.
pub fn run(command: &DoctorCommand) -> Result<String> {
    let library = match &command.script {
        Some(script) => Ok((
            Runtime {
                path: script.display().to_string(),
                origin: "--engine".into(),
            },
            start::script(script),
        )),
        None => payload::locate(command.ort.as_deref())
            .map(|library| {
                let runtime = Runtime {
                    path: library.path.display().to_string(),
                    origin: library.origin.clone(),
                };
                (runtime, start::runtime(library, &command.cuda_dirs))
            })
            .map_err(|error| error.to_string()),
    };
    let (runtime, engine) = match library {
        Ok((runtime, engine)) => (Ok(runtime), Ok(engine)),
        Err(reason) => (Err(reason.clone()), Err(reason)),
    };
    let facts = Facts {
        program: Program {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: payload::COMMIT.map(str::to_owned),
            arch: std::env::consts::ARCH.into(),
        },
        device: command.device,
        machine: device::machine(command.root.as_deref().unwrap_or(Path::new("/"))),
        runtime,
        answers: ask(command, engine),
        kernels: Err("the provider's GPU code was not looked at".into()),
        payload: None,
    };
    let diagnosis = doctor::diagnose(&facts);
    if command.json {
        export::doctor::json(&diagnosis)
    } else {
        Ok(export::doctor::text(&diagnosis))
    }
}

/// Asks a worker, unless the files are those of another machine.
fn ask(command: &DoctorCommand, engine: Told<EngineKind>) -> Answers {
    if let (Some(root), None) = (&command.root, &command.script) {
        return Answers::none(&format!(
            "the files of {} are of another machine, so no worker was asked",
            root.display()
        ));
    }
    let worker = match start::worker() {
        Ok(worker) => worker,
        Err(error) => {
            let reason = error.to_string();
            return Answers {
                failure: Some(reason.clone()),
                ..Answers::none(&reason)
            };
        }
    };
    let mut answers = supervisor::examine(
        engine.as_ref().ok(),
        command.device,
        &worker,
        start::PROBE_TIMEOUT,
    );
    if let Err(reason) = engine {
        answers.probe = Err(reason);
    }
    answers
}
