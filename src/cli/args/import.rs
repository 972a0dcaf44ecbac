//! Arguments of the command that reads checkpoints.

use super::{ACTIVATIONS, FORMS, PRECISIONS, named};
use crate::cli::import::is_folder;
use crate::trial::{Float, Form, Precision};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, Args, Command};
use std::ffi::OsStr;
use std::path::PathBuf;

/// What to import.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Folder with config.json and *.safetensors of GPT-2, Llama, SmolLM2, Mistral, Qwen3, Mixtral, OLMoE, Qwen3-MoE or GraniteMoE
    #[arg(value_name = "HF_FOLDER")]
    pub folder: PathBuf,
    /// Folder to write to; created if missing
    #[arg(short, long, value_name = "DIR", required = true)]
    pub output: PathBuf,
    /// Graph form: standard ONNX operators (plain) or ONNX Runtime's own (fused)
    #[arg(long, default_value = "fused", value_parser = named(FORMS))]
    pub form: Form,
    /// Type of the weights; int8 and int4 are blocks of 32 with a scale each, in the fused form only
    #[arg(long, default_value = "fp32", value_parser = named(PRECISIONS))]
    pub precision: Precision,
    /// What a graph with int8 or int4 weights computes in: fp16 for CUDA, fp32 for the CPU [default: fp16]
    #[arg(long, value_name = "TYPE", value_parser = named(ACTIVATIONS))]
    pub activations: Option<Float>,
}

/// A built-in model's name, or the path of a checkpoint's folder: what has a slash in it, as `./my-model`.
#[derive(Clone)]
pub struct ModelOrFolder(pub PossibleValuesParser);

impl TypedValueParser for ModelOrFolder {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        match value.to_str() {
            Some(path) if is_folder(path) => Ok(path.to_owned()),
            _ => self.0.parse_ref(command, argument, value),
        }
    }
}
