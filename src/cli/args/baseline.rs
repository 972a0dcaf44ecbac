//! The options of `edgebench baseline` as clap sees them.

use super::{LIST_FORMATS, named};
use crate::cli::ListFormat;
use clap::Subcommand;
use std::path::PathBuf;

/// What to do with baselines.
#[derive(Debug, Subcommand)]
pub enum BaselineSub {
    /// List them: machine, date, command and where each comes from
    List {
        /// How to print the list
        #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = named(LIST_FORMATS))]
        format: ListFormat,
    },
    /// Print what one holds: its tables, or with json its files whole
    Show {
        /// Name of the baseline
        #[arg(value_name = "NAME")]
        name: String,
        /// How to print it
        #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = named(LIST_FORMATS))]
        format: ListFormat,
    },
    /// Keep a result under a name, in edgebench/baselines of the data folder ($XDG_DATA_HOME, else ~/.local/share)
    Add {
        /// Name to compare with it by: a-z, 0-9, '-', '_' and '.'
        #[arg(value_name = "NAME", allow_hyphen_values = true)]
        name: String,
        /// Result file, of edgebench or of llama-bench -o json; it is copied
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Put it in the place of one that was added under this name
        #[arg(long)]
        replace: bool,
    },
    /// Remove one that was added
    Remove {
        /// Name of the baseline
        #[arg(value_name = "NAME")]
        name: String,
    },
}
