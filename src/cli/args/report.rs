//! Arguments of `report`.

use clap::Args;
use std::path::PathBuf;

/// What to make a page of.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Result files; with several the first is the baseline of a comparison, and those may be of llama-bench -o json too
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Page to write; - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    pub output: PathBuf,
}
