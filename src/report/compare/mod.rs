//! Door of the comparison: files in, what differs between them out. Pure; no file is read and nothing is printed here.

mod against;
mod ceilings;
mod condition;
mod facts;
#[cfg(test)]
mod fixture;
mod llama_bench;
mod pairing;
mod published;
mod quantity;
mod result;
mod run;
#[cfg(test)]
mod tests;
mod verdict;

pub use against::{Against, Pair, Side};
pub use ceilings::CeilingPair;
pub use condition::{Checked, Condition, Operator};
pub use facts::{Difference, Fact, options};
#[cfg(test)]
pub use fixture::example;
pub use quantity::Quantity;
pub(super) use result::{figure, parts};
pub use run::{Case, Parts, Run, Source};
pub(super) use run::{Figure, Samples};
pub use verdict::{Judgement, NOISE, Verdict};
pub(super) use verdict::{Labels, judge};

use super::{Report, codec};
use crate::error::{Error, Result};
use serde::Serialize;

/// Version of the comparison's JSON. A reader should refuse another major number.
pub const COMPARISON_VERSION: &str = "1.1";

/// What a model of one file is called in the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// Its name in a file.
    pub from: String,
    /// The model that it is.
    pub to: String,
}

/// Some files against a baseline, which is a file or several.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// [`COMPARISON_VERSION`].
    pub comparison_version: &'static str,
    /// [`NOISE`].
    pub noise_threshold: f64,
    /// The files, those of the baseline first.
    pub files: Vec<FileFacts>,
    /// Facts of machines and runs in which the files differ.
    pub differences: Vec<Difference>,
    /// Each file that is not the baseline's, against each that is.
    pub against: Vec<Against>,
    /// What came of each condition.
    pub conditions: Vec<Checked>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileFacts {
    /// What it is called here: A, B, C.
    pub label: String,
    /// Its name, as given.
    pub file: String,
    /// Whether the others are compared with it.
    pub is_baseline: bool,
    /// The program that wrote it.
    pub source: Source,
    /// Start of the run.
    pub started_utc: Option<String>,
    /// Whether all its trials have run.
    pub finished: bool,
}

impl Run {
    /// A result of edgebench, a list of llama-bench, or a table of published figures.
    pub fn read(file: &str, text: &str) -> Result<Run> {
        if text.trim_start().starts_with('[') {
            return llama_bench::run(file, text);
        }
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) if published::is_one(&value) => published::run(file, value),
            _ => Ok(result::run(file, &codec::from_json(text)?)),
        }
    }

    /// A result that is at hand.
    pub fn of(file: &str, report: &Report) -> Run {
        result::run(file, report)
    }
}

/// Compares each of `others` with each of `baselines`. Conditions are held against the first baseline alone.
pub fn compare(
    baselines: Vec<Run>,
    others: Vec<Run>,
    renames: &[Rename],
    conditions: &[Condition],
) -> Result<Comparison> {
    let places = baselines.len();
    if places == 0 || others.is_empty() {
        return Err(Error::Usage("there is no file to compare".to_owned()));
    }
    let mut runs = [baselines, others].concat();
    for rename in renames {
        apply(rename, &mut runs)?;
    }
    let labels: Vec<String> = (0..runs.len()).map(label).collect();
    let facts: Vec<_> = labels
        .iter()
        .zip(&runs)
        .map(|(label, run)| (label.as_str(), &run.facts))
        .collect();
    let file = |(place, run): (usize, &Run)| FileFacts {
        label: labels[place].clone(),
        file: run.file.clone(),
        is_baseline: place < places,
        source: run.source,
        started_utc: run.started_utc.clone(),
        finished: run.finished,
    };
    let mut against = Vec::new();
    for other in places..runs.len() {
        for first in 0..places {
            let labels = Labels {
                baseline: &labels[first],
                other: &labels[other],
            };
            against.push(against::against(&runs[first], &runs[other], labels));
        }
    }
    let judged: Vec<&Against> = against.iter().step_by(places).collect();
    Ok(Comparison {
        comparison_version: COMPARISON_VERSION,
        noise_threshold: NOISE,
        files: runs.iter().enumerate().map(file).collect(),
        differences: facts::differences(&facts),
        conditions: conditions
            .iter()
            .map(|condition| condition::check(condition, &judged))
            .collect(),
        against,
    })
}

/// The comparison as indented JSON with a final newline.
pub fn comparison_to_json(comparison: &Comparison) -> Result<String> {
    let text = serde_json::to_string_pretty(comparison);
    Ok(text.map_err(|cause| Error::Bug(cause.to_string()))? + "\n")
}

impl Comparison {
    /// Why the conditions are not passed, in one sentence; `None` where they are.
    pub fn complaint(&self) -> Option<String> {
        let complaints: Vec<String> = self
            .conditions
            .iter()
            .filter_map(condition::complaint)
            .collect();
        let found = self.conditions.iter().any(|one| one.outcome == "failed");
        let head = if found {
            "regression found"
        } else {
            "no regression found, but not everything could be judged"
        };
        (!complaints.is_empty()).then(|| visible(&format!("{head}: {}", complaints.join("; "))))
    }
}

/// A, B, C; beyond Z the place of the file.
fn label(place: usize) -> String {
    match u8::try_from(place) {
        Ok(place) if place < 26 => char::from(b'A' + place).to_string(),
        _ => format!("file {}", place + 1),
    }
}

/// Text from files without control characters, which a terminal would obey.
fn visible(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Calls a model by another name in all files.
fn apply(rename: &Rename, runs: &mut [Run]) -> Result<()> {
    let mut found = false;
    for case in runs.iter_mut().flat_map(|run| &mut run.cases) {
        if case.key.model == rename.from {
            case.key.model.clone_from(&rename.to);
            case.named_by_user = true;
            found = true;
        }
    }
    for ceiling in runs.iter_mut().flat_map(|run| &mut run.ceilings) {
        if ceiling.key.model == rename.from {
            ceiling.key.model.clone_from(&rename.to);
        }
    }
    if found {
        return Ok(());
    }
    let models = runs.iter().flat_map(|run| &run.cases);
    let names: Vec<String> = models.map(|case| case.key.model.clone()).collect();
    let names = facts::distinct(&names, String::clone).unwrap_or_default();
    Err(Error::Usage(visible(&format!(
        "there is no model '{}' in these files for --match; there are: {names}",
        rename.from
    ))))
}
