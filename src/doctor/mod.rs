//! Door of the doctor room: what was found out about this machine → what that means. Pure: no file, process or library.

mod conditions;
mod gpu;
mod kernels;
mod rules;
mod sheet;
#[cfg(test)]
mod tests;

pub use kernels::Kernels;
#[cfg(test)]
pub use sheet::Fact;
pub use sheet::{Section, Value};

use crate::device::Machine;
use crate::protocol::Told;
use crate::supervisor::Answers;
use crate::trial::DeviceChoice;
use crate::units::Bytes;
use gpu::Gpu;

/// Everything that was found out.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The program.
    pub program: Program,
    /// The device asked for.
    pub device: DeviceChoice,
    /// What the files say.
    pub machine: Machine,
    /// The ONNX Runtime in use.
    pub runtime: Told<Runtime>,
    /// What a worker said about the driver, ONNX Runtime and CUDA.
    pub answers: Answers,
    /// GPU code in the CUDA provider in use.
    pub kernels: Told<Kernels>,
    /// What this program carries; `None` where it carries nothing.
    pub payload: Option<PayloadFacts>,
}

/// The program itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// The commit it was built from.
    pub commit: Option<String>,
    /// The processor it was built for.
    pub arch: String,
}

/// The ONNX Runtime in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Path of its library.
    pub path: String,
    /// Who named it.
    pub origin: String,
}

/// What the program carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PayloadFacts {
    /// Its parts and their sizes.
    pub parts: Vec<(String, Bytes)>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something cannot be used.
    Problem,
    /// It works, and figures will be worse or less steady.
    Warning,
    /// Good to know when reading figures.
    Note,
}

impl Severity {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Problem => "problem",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// Something that is missing or stands in the way, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A name for scripts; it does not change.
    pub code: &'static str,
    /// What was found.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    fn new(
        severity: Severity,
        code: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding {
            severity,
            code,
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// What trials can run on here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usable {
    /// The GPU with this index, and the CPU.
    Cuda(u32),
    /// The CPU only.
    Cpu,
    /// Nothing.
    Nothing,
    /// It was not tried.
    NotTried,
}

/// What it all means.
#[derive(Debug, Clone)]
pub struct Diagnosis {
    /// The program.
    pub program: Program,
    /// What trials can run on.
    pub usable: Usable,
    /// The same as a sentence.
    pub verdict: String,
    /// Findings, the worst first.
    pub findings: Vec<Finding>,
    /// The facts, for people and for programs.
    pub sections: Vec<Section>,
}

/// Judges the facts.
pub fn diagnose(facts: &Facts) -> Diagnosis {
    let gpu = Gpu::of(facts);
    let mut findings = rules::findings(facts, &gpu);
    findings.extend(conditions::findings(facts, &gpu));
    // Stable: within one severity, causes stand before what follows from them.
    findings.sort_by_key(|finding| finding.severity);
    let (usable, verdict) = verdict(facts, &gpu);
    Diagnosis {
        program: facts.program.clone(),
        usable,
        verdict,
        findings,
        sections: sheet::sections(facts, &gpu),
    }
}

fn verdict(facts: &Facts, gpu: &Gpu<'_>) -> (Usable, String) {
    match &facts.answers.probe {
        Ok(probe) => match &probe.gpu {
            Some(used) => {
                let name = gpu.name().unwrap_or_else(|_| "the GPU".into());
                (
                    Usable::Cuda(used.index),
                    format!(
                        "trials can run on {name} (cuda:{}) and on the CPU",
                        used.index
                    ),
                )
            }
            None if facts.device == DeviceChoice::Cpu => (
                Usable::Cpu,
                "trials can run on the CPU; CUDA was not tried, because the CPU was asked for"
                    .into(),
            ),
            None => (Usable::Cpu, "trials can run on the CPU only".into()),
        },
        Err(_) if facts.answers.asked || facts.runtime.is_err() => {
            (Usable::Nothing, "no trial can run here yet".into())
        }
        Err(reason) => (
            Usable::NotTried,
            format!("it was not tried what trials can run on: {reason}"),
        ),
    }
}
