//! A page of saved results: read, compare where there are several, write.

use super::{print, read};
use crate::cli::ReportCommand;
use crate::error::{Error, Result};
use crate::export::{self, html};
use crate::report::compare::{self, Rename, Run};
use crate::report::{self, Report};
use std::path::{Path, PathBuf};

/// Writes the page of these files to an exit code.
pub fn run(command: &ReportCommand) -> Result<u8> {
    let output = command.output.as_path();
    let to_stdout = output == Path::new("-") || output == Path::new("/dev/stdout");
    if !to_stdout {
        spare(&command.files, output)?;
    }
    let opened: Vec<(Run, Option<Report>)> = command
        .files
        .iter()
        .map(|file| open(file))
        .collect::<Result<_>>()?;
    let page = page(opened, &command.renames)?;
    if to_stdout {
        return print(&page);
    }
    export::write_atomically(output, page.as_bytes())?;
    print(&format!("{}\n", output.display()))
}

/// Refuses to write the page over one of its results.
fn spare(files: &[PathBuf], output: &Path) -> Result<()> {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let target = real(output);
    let same = |file: &&PathBuf| target.is_some() && real(file) == target;
    match files.iter().find(same) {
        Some(file) => Err(Error::Usage(format!(
            "the page would take the place of the result {}; choose another file with -o",
            file.display()
        ))),
        None => Ok(()),
    }
}

/// One file, as the comparison sees it and, where edgebench wrote it, whole.
fn open(file: &Path) -> Result<(Run, Option<Report>)> {
    read(file, |text| {
        let run = Run::read(&file.display().to_string(), text)?;
        let whole = match run.source {
            compare::Source::Edgebench => Some(report::from_json(text)?),
            compare::Source::LlamaBench | compare::Source::Published => None,
        };
        Ok((run, whole))
    })
}

/// The page. Files of llama-bench stand in the comparison only.
fn page(opened: Vec<(Run, Option<Report>)>, renames: &[Rename]) -> Result<String> {
    let (runs, reports): (Vec<Run>, Vec<Option<Report>>) = opened.into_iter().unzip();
    let files: Vec<String> = runs.iter().map(|run| run.file.clone()).collect();
    let comparison = match runs.len() {
        1 => None,
        _ => {
            let mut baselines = runs;
            let others = baselines.split_off(1);
            Some(compare::compare(baselines, others, renames, &[])?)
        }
    };
    let label = |place: usize| {
        let told = comparison.as_ref().and_then(|all| all.files.get(place));
        told.map_or_else(|| "A".to_owned(), |file| file.label.clone())
    };
    let shown: Vec<html::Shown> = files
        .into_iter()
        .zip(reports)
        .enumerate()
        .filter_map(|(place, (file, report))| {
            Some(html::Shown {
                label: label(place),
                file,
                report: report?,
            })
        })
        .collect();
    if shown.is_empty() {
        return Err(Error::Usage(
            "there is no result of edgebench among these files to make a page of; name one, llama-bench's can stand beside it".to_owned(),
        ));
    }
    Ok(html::render(&shown, comparison.as_ref()))
}
