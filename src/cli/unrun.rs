//! Commands that predict and run nothing, as asked for.

use super::args::{InspectArgs, PlanArgs};
use super::{DEFAULT_SUITE, ListFormat, given, selected, sizes};
use crate::plan::Request;
use crate::trial::{DeviceChoice, Form, Precision};
use crate::units::Bytes;
use std::path::PathBuf;

/// A plan, as asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanCommand {
    /// The trials.
    pub request: Request,
    /// Device.
    pub device: DeviceChoice,
    /// ONNX Runtime: a library, a folder or a wheel; `None` for the built-in choice.
    pub ort: Option<PathBuf>,
    /// Folders to look for CUDA libraries in first.
    pub cuda_dirs: Vec<PathBuf>,
    /// Folder to unpack the payload into; `None` for the usual place.
    pub runtime_dir: Option<PathBuf>,
    /// Script of the scripted engine, which then takes the place of ONNX Runtime.
    pub script: Option<PathBuf>,
    /// How to print it.
    pub format: ListFormat,
    /// No notes.
    pub quiet: bool,
}

/// What to look into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectCommand {
    /// Name of a built-in model, or path of a file.
    pub target: String,
    /// Memory that should do, in ascending order; empty where nothing is to be said of what fits.
    pub budgets: Vec<Bytes>,
    /// Graph forms of a built-in model; empty for all.
    pub forms: Vec<Form>,
    /// Types of the weights of a built-in model; empty for all.
    pub precisions: Vec<Precision>,
    /// Device to predict for; `Auto` for both kinds.
    pub device: DeviceChoice,
    /// Sequences decoded together.
    pub batch: u32,
    /// Prompt length; `None` for the default.
    pub prompt_tokens: Option<u32>,
    /// Generated tokens; `None` for the default.
    pub gen_tokens: Option<u32>,
    /// How to print it.
    pub format: ListFormat,
}

impl From<PlanArgs> for PlanCommand {
    fn from(args: PlanArgs) -> PlanCommand {
        PlanCommand {
            request: selected(args.selection, DEFAULT_SUITE),
            device: args.runtime.device,
            ort: args.runtime.ort,
            cuda_dirs: args.runtime.cuda_dir,
            runtime_dir: given(args.runtime.runtime_dir),
            script: args.runtime.engine,
            format: args.format,
            quiet: args.quiet,
        }
    }
}

impl From<InspectArgs> for InspectCommand {
    fn from(args: InspectArgs) -> InspectCommand {
        InspectCommand {
            target: args.target,
            budgets: sizes(args.vram_budget),
            forms: args.form,
            precisions: args.precision,
            device: args.device,
            batch: args.batch,
            prompt_tokens: args.prompt_tokens,
            gen_tokens: args.gen_tokens,
            format: args.format,
        }
    }
}
