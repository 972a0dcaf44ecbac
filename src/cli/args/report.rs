//! Arguments of `report`.

use super::super::values;
use crate::report::compare::Rename;
use clap::Args;
use std::path::PathBuf;

/// What to make a page of.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Result files; with several the first is the baseline of a comparison, and those may be of llama-bench -o json too
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// In the comparison, say which model one of another name is, for example 'llama 1B F16=llama-1b'; may be repeated [default: none]
    #[arg(long = "match", value_name = "NAME=MODEL", allow_hyphen_values = true, value_parser = values::rename)]
    pub renames: Vec<Rename>,
    /// Page to write; - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    pub output: PathBuf,
}
