//! Arguments of the commands that predict and run nothing.

use super::{FORMS, LIST_FORMATS, PRECISIONS, RuntimeArgs, SelectionArgs, named};
use crate::cli::{ListFormat, values};
use crate::trial::{DeviceChoice, Form, Precision};
use clap::Args;

/// What to plan.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = named(LIST_FORMATS))]
    pub format: ListFormat,
    /// No notes on standard error
    #[arg(short, long)]
    pub quiet: bool,
}

/// What to look into.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Built-in model (`edgebench models` lists them), ONNX file or folder of a checkpoint, such as ./my-model; weights are not read
    #[arg(value_name = "MODEL|FILE")]
    pub target: String,
    /// Memory that should do, one size or several as in a run's --vram-budget [default: none, and nothing is said of what fits]
    #[arg(long, value_name = "SIZES", allow_hyphen_values = true, value_parser = values::budgets)]
    pub vram_budget: Option<values::Budgets>,
    /// Graph forms of a built-in model [default: both]
    #[arg(long, value_delimiter = ',', value_parser = named(FORMS))]
    pub form: Vec<Form>,
    /// Types of the weights of a built-in model [default: all]
    #[arg(long, value_delimiter = ',', value_parser = named(PRECISIONS))]
    pub precision: Vec<Precision>,
    /// Device to predict for, which need not be there: cpu, cuda or cuda:N; auto is both kinds
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = values::device)]
    pub device: DeviceChoice,
    /// Sequences decoded together
    #[arg(long, value_name = "N", default_value = "1", allow_negative_numbers = true, value_parser = values::count::<1, 65_536>)]
    pub batch: u32,
    /// Prompt length in tokens [default: 256, or half a small model's positions]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = values::count::<1, 1_048_576>)]
    pub prompt_tokens: Option<u32>,
    /// Tokens to generate for each sequence [default: 128, or a quarter of a small model's positions]
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true, value_parser = values::count::<1, 1_048_576>)]
    pub gen_tokens: Option<u32>,
    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = named(LIST_FORMATS))]
    pub format: ListFormat,
}
