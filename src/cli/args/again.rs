//! Arguments of runs that go on or go round again, and of the study.

use super::{RunArgs, named};
use crate::cli::values;
use crate::report::Formula;
use clap::Args;
use std::path::PathBuf;

const FORMULAS: &[(&str, Formula)] = &[
    ("repaired", Formula::Repaired),
    ("study-json", Formula::StudyJson),
    ("study-hourly", Formula::StudyHourly),
];

/// Runs again.
#[derive(Debug, Args)]
#[command(next_help_heading = "Runs again")]
pub struct AgainArgs {
    /// Run the whole suite so many times, every trial once before any runs again, and tell how far the runs are apart
    #[arg(long, value_name = "N", default_value = "1", allow_negative_numbers = true, value_parser = values::count::<1, 1_000>)]
    pub repeat: u32,
    /// Continue a run that was stopped: keep what its result file has, run the rest, write to the same file; other options may be left out, and must be the same where they are given [default: none]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "dry_run"])]
    pub resume: Option<PathBuf>,
}

/// The study.
#[derive(Debug, Args)]
pub struct StudyArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// Formulas to price each model's tokens by, beside each other: ours, that of the published study's result files, which rises with speed, and its other one, of a flat hour [default: all]
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "Cost per million tokens",
        value_parser = named(FORMULAS)
    )]
    pub cost_formula: Vec<Formula>,
    /// Measure the study's two models its way as well (no KV cache, the time of ten tokens as that of the first, live tensors as memory), to show what each flaw does to the figures; where neither is among the models, all that are
    #[arg(long, help_heading = "The published study")]
    pub as_published: bool,
    /// Tell where the routers of each Mixture of Experts send the tokens of a prompt: tokens per expert, entropy, imbalance
    #[arg(long, help_heading = "Routers")]
    pub router: bool,
}
