//! A comparison as Markdown: tables of facts and figures, the remarks as a list.

use super::{ceilings, remarks, sheet};
use crate::export::markdown::{escape, grid, line};
use crate::report::compare::{Against, Comparison};

/// The comparison as Markdown.
pub fn render(comparison: &Comparison) -> String {
    let mut blocks = vec![list(&sheet::files(comparison)), differences(comparison)];
    for against in &comparison.against {
        if !against.pairs.is_empty() {
            blocks.push(pairs(against));
        }
        let ratio = format!("{}/{}", against.file, against.baseline);
        blocks.push(grid(None, &ceilings::columns(against, &ratio)));
        blocks.push(list(&remarks::of_file(against)));
    }
    let mut last = remarks::of_all(comparison);
    let summaries = comparison.against.iter();
    last.extend(summaries.filter_map(remarks::summary));
    blocks.push(list(&last));
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n") + "\n"
}

/// A list of texts.
fn list(texts: &[String]) -> String {
    let items: Vec<String> = texts
        .iter()
        .map(|text| format!("- {}", escape(text)))
        .collect();
    items.join("\n")
}

/// What differs between machines and settings.
fn differences(comparison: &Comparison) -> String {
    if comparison.differences.is_empty() {
        return "Machine, versions and settings are the same.".to_owned();
    }
    let labels = comparison.files.iter().map(|file| file.label.clone());
    let head = std::iter::once("differs in".to_owned()).chain(labels);
    let mut lines = vec![
        line(head),
        line((0..=comparison.files.len()).map(|_| "---".to_owned())),
    ];
    for fact in &comparison.differences {
        let title = sheet::fact_title(fact.name);
        lines.push(line(std::iter::once(title).chain(sheet::fact_texts(fact))));
    }
    lines.join("\n")
}

/// The pairs of one file.
fn pairs(against: &Against) -> String {
    let (file, baseline) = (&against.file, against.baseline.as_str());
    let ratio = format!("{file}/{baseline}");
    let titles = [
        "row",
        "metric",
        baseline,
        file,
        &ratio,
        "95 % interval",
        "verdict",
    ];
    let sides = ["---", "---", "---:", "---:", "---:", "---:", "---"];
    let mut lines = vec![
        line(titles.iter().map(|title| (*title).to_owned())),
        line(sides.iter().map(|side| (*side).to_owned())),
    ];
    for pair in &against.pairs {
        let name = sheet::name(pair);
        for found in sheet::lines(pair) {
            let title = found.title.trim_start().to_owned();
            let cells = [
                name.clone(),
                title,
                found.baseline,
                found.other,
                found.ratio,
                found.interval,
                found.word,
            ];
            lines.push(line(cells.into_iter()));
        }
    }
    lines.join("\n")
}
