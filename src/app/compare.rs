//! Comparing saved results, or a run at hand with a baseline: read, compare, print, and the exit code that was asked for.

use super::{is_coloured, print, read};
use crate::baseline::{Baseline, Library};
use crate::cli::{ColorChoice, CompareCommand, OutputFormat, RunCommand};
use crate::error::{Error, Result};
use crate::export;
use crate::export::compare::ComparisonFormat;
use crate::report::Report;
use crate::report::compare::{self, Comparison, Run};
use std::path::Path;

/// Compares files to an exit code. The comparison is printed even where a condition fails.
pub fn run(command: &CompareCommand) -> Result<u8> {
    let mut files: Vec<Run> = command
        .files
        .iter()
        .map(|file| open(file))
        .collect::<Result<_>>()?;
    let (baselines, others) = match &command.baseline {
        Some(name) => (runs(&Library::open().find(name)?), files),
        None => {
            let others = files.split_off(1);
            (files, others)
        }
    };
    let comparison = compare::compare(baselines, others, &command.renames, &command.conditions)?;
    let code = print(&render(&comparison, command.format, command.color)?)?;
    match comparison.complaint() {
        Some(complaint) => Err(Error::Regression(complaint)),
        None => Ok(code),
    }
}

/// The baseline that a run is to be compared with. Asked for before anything is measured, so that a mistake stops nothing later.
pub fn baseline(command: &RunCommand) -> Result<Option<Baseline>> {
    let Some(name) = &command.baseline else {
        return Ok(None);
    };
    if format(command.format).is_none() {
        return Err(Error::Usage(format!(
            "--baseline prints a comparison below the tables, which has no place in data for programs; use --format table or markdown, or afterwards `edgebench compare --baseline {name} FILE` with the result file"
        )));
    }
    Library::open().find(name).map(Some)
}

/// The comparison of a run at hand with a baseline, as it stands below the run's tables. `file` is where the run is kept.
pub fn below(
    baseline: &Baseline,
    file: &Path,
    report: &Report,
    command: &RunCommand,
) -> Result<String> {
    let at_hand = Run::of(&format!("{}, this run", file.display()), report);
    let comparison = compare::compare(runs(baseline), vec![at_hand], &[], &[])?;
    let format = format(command.format).unwrap_or(ComparisonFormat::Table);
    let text = render(&comparison, format, command.color)?;
    Ok(format!("\n{text}"))
}

/// What a run's comparison is printed in; `None` where its tables are none.
fn format(format: OutputFormat) -> Option<ComparisonFormat> {
    match format {
        OutputFormat::Table => Some(ComparisonFormat::Table),
        OutputFormat::Markdown => Some(ComparisonFormat::Markdown),
        OutputFormat::Json | OutputFormat::Jsonl | OutputFormat::Csv => None,
    }
}

/// The comparison, as wide and as colourful as standard output allows.
fn render(
    comparison: &Comparison,
    format: ComparisonFormat,
    colour: ColorChoice,
) -> Result<String> {
    let width = export::terminal_width();
    export::compare::render(comparison, format, width, is_coloured(colour))
}

/// The files of a baseline.
fn runs(baseline: &Baseline) -> Vec<Run> {
    let parts = baseline.parts.iter();
    parts.map(|part| part.run.clone()).collect()
}

/// One file.
fn open(file: &Path) -> Result<Run> {
    read(file, |text| Run::read(&file.display().to_string(), text))
}
