//! The command that reads checkpoints, as asked for.

use super::args::ImportArgs;
use crate::trial::{Float, Form, Precision};
use std::path::PathBuf;

/// What to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportCommand {
    /// Folder of a checkpoint.
    pub folder: PathBuf,
    /// Folder to write to.
    pub output: PathBuf,
    /// Graph form.
    pub form: Form,
    /// Type of the weights.
    pub precision: Precision,
    /// What is computed in where they are quantised; `None` for the default.
    pub activations: Option<Float>,
}

impl From<ImportArgs> for ImportCommand {
    fn from(args: ImportArgs) -> ImportCommand {
        ImportCommand {
            folder: args.folder,
            output: args.output,
            form: args.form,
            precision: args.precision,
            activations: args.activations,
        }
    }
}

/// Whether a model is meant by its file or folder: no name of a model has a slash in it, nor is one of these.
pub fn is_folder(model: &str) -> bool {
    model.contains('/') || [".", ".."].contains(&model) || model.ends_with(".onnx")
}
