//! Arguments of the command that reads checkpoints.

use super::{ACTIVATIONS, FORMS, PRECISIONS, named};
use crate::trial::{Float, Form, Precision};
use clap::Args;
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
