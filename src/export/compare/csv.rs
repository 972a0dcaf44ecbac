//! A comparison as comma-separated values: one quantity of one pair on each line, base units, an empty cell for what is
//! not known and the reason beside it.

use crate::error::{Error, Result};
use crate::report::compare::{Comparison, Judgement, Pair, Parts};

/// The columns.
const HEADER: [&str; 17] = [
    "baseline_file",
    "other_file",
    "row",
    "other_row",
    "model",
    "batch",
    "prompt_tokens",
    "gen_tokens",
    "metric",
    "baseline",
    "other",
    "ratio",
    "ratio_ci95_low",
    "ratio_ci95_high",
    "verdict",
    "reason",
    "notes",
];

/// The comparison as CSV with a header. Rows that only one file has stand at the end, without figures.
pub fn render(comparison: &Comparison) -> Result<String> {
    write(comparison).map_err(|cause| Error::Bug(cause.to_string()))
}

/// Writes header and lines.
fn write(comparison: &Comparison) -> Result<String, Box<dyn std::error::Error>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER)?;
    let name = |label: &str| {
        let file = comparison.files.iter().find(|file| file.label == label);
        file.map_or_else(String::new, |file| file.file.clone())
    };
    for against in &comparison.against {
        let (baseline, file) = (&name(&against.baseline), &name(&against.file));
        for pair in &against.pairs {
            for cells in of_pair(pair) {
                let head = [baseline.clone(), file.clone()];
                writer.write_record(head.into_iter().chain(cells))?;
            }
        }
        let lost = against.only_in_baseline.iter();
        let lost = lost.map(|row| [row.as_str(), "", "only in the baseline"]);
        let extra = against.only_in_other.iter();
        let extra = extra.map(|row| ["", row.as_str(), "only in the other file"]);
        for [row, other_row, reason] in lost.chain(extra) {
            let mut cells = vec![""; HEADER.len()];
            cells[..4].copy_from_slice(&[baseline, file, row, other_row]);
            cells[14..16].copy_from_slice(&["not_comparable", reason]);
            writer.write_record(cells)?;
        }
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// The lines of a pair, without the names of the files.
fn of_pair(pair: &Pair) -> Vec<Vec<String>> {
    let head = [
        pair.row.clone(),
        pair.other_row.clone(),
        pair.model.clone(),
        pair.batch.to_string(),
        pair.prompt_tokens.to_string(),
        pair.gen_tokens.to_string(),
    ];
    let with_head = |cells: Vec<String>| [&head[..], &cells].concat();
    let mut lines: Vec<_> = pair
        .metrics
        .iter()
        .map(|found| with_head(judged(found, pair)))
        .collect();
    let parts = parts(&pair.baseline_memory)
        .into_iter()
        .zip(parts(&pair.other_memory));
    for ((name, ours), (_, theirs)) in parts {
        let mut cells = vec![name.to_owned(), ours, theirs];
        cells.resize(HEADER.len() - 2 - head.len(), String::new());
        lines.push(with_head(cells));
    }
    lines
}

/// A number, or an empty cell.
fn cell(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// The cells of a judgement.
fn judged(found: &Judgement, pair: &Pair) -> Vec<String> {
    let [low, high] = found.ci95.map_or([None, None], |ends| ends.map(Some));
    let no_interval = found.not_measured.get("ci95").cloned();
    vec![
        found.metric.name().to_owned(),
        cell(found.baseline),
        cell(found.other),
        cell(found.ratio),
        cell(low),
        cell(high),
        found.word.to_owned(),
        found.reason.clone().or(no_interval).unwrap_or_default(),
        pair.notes.join(" | "),
    ]
}

/// Parts of the peak by name.
fn parts(parts: &Parts) -> Vec<(&'static str, String)> {
    let count = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    let signed = parts.unaccounted_bytes.map(|value| value.to_string());
    vec![
        ("weights_bytes", count(parts.weights_bytes)),
        ("kv_bytes", count(parts.kv_bytes)),
        ("activations_bytes", count(parts.activations_bytes)),
        ("runtime_bytes", count(parts.runtime_bytes)),
        ("unaccounted_bytes", signed.unwrap_or_default()),
    ]
}
