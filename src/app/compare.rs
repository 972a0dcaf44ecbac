//! Comparing saved results: read, compare, print, and the exit code that was asked for.

use super::{is_coloured, print, read};
use crate::cli::CompareCommand;
use crate::error::{Error, Result};
use crate::export;
use crate::report::compare::{self, Run};
use std::path::Path;

/// Compares files to an exit code. The comparison is printed even where a condition fails.
pub fn run(command: &CompareCommand) -> Result<u8> {
    let runs: Vec<Run> = command
        .files
        .iter()
        .map(|file| open(file))
        .collect::<Result<_>>()?;
    let comparison = compare::compare(runs, &command.renames, &command.conditions)?;
    let text = export::compare::render(
        &comparison,
        command.format,
        export::terminal_width(),
        is_coloured(command.color),
    )?;
    let code = print(&text)?;
    match comparison.complaint() {
        Some(complaint) => Err(Error::Regression(complaint)),
        None => Ok(code),
    }
}

/// One file.
fn open(file: &Path) -> Result<Run> {
    read(file, |text| Run::read(&file.display().to_string(), text))
}
