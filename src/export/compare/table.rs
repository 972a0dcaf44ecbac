//! A comparison as aligned text for a terminal: files, what differs between the machines, a block for each pair of rows.

use super::{ceilings, remarks, sheet};
use crate::export::human::{self, Cells};
use crate::export::table::{self, Prepared};
use crate::report::compare::{Against, Comparison, Verdict};
use comfy_table::{ContentArrangement, Table, presets};

/// Files whose facts stand side by side; more are told one below the other.
const SIDE_BY_SIDE: usize = 3;

/// The comparison as text.
pub fn render(comparison: &Comparison, width: usize, colour: bool) -> String {
    let width = width.max(20);
    let mut blocks = vec![
        table::lines(&sheet::files(comparison), width, 4),
        differences(comparison, width),
    ];
    for against in &comparison.against {
        if comparison.against.len() > 1 {
            blocks.push(format!("{} against {}", against.file, against.baseline));
        }
        if !against.pairs.is_empty() {
            blocks.push(pairs(against, width, colour));
        }
        let ratio = format!("{}/{}", against.file, against.baseline);
        let found = table::fit(ceilings::columns(against, &ratio), width);
        if !found.is_empty() {
            blocks.push(table::layout(&found, against.ceilings.len()).join("\n"));
        }
        let remarks = remarks::of_file(against);
        blocks.push(table::lines(&remarks, width, 2));
    }
    blocks.push(table::lines(&remarks::of_all(comparison), width, 2));
    let summaries = comparison.against.iter();
    let summaries = summaries.filter_map(remarks::summary);
    blocks.push(table::lines(&summaries.collect::<Vec<_>>(), width, 2));
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n") + "\n"
}

/// What differs between machines and settings.
fn differences(comparison: &Comparison, width: usize) -> String {
    if comparison.differences.is_empty() {
        return "Machine, versions and settings are the same.".to_owned();
    }
    let facts = comparison.differences.iter();
    let facts = facts.map(|fact| (sheet::fact_title(fact.name), sheet::fact_texts(fact)));
    if comparison.files.len() > SIDE_BY_SIDE {
        let line = |(title, texts): (String, Vec<String>)| {
            let named = comparison.files.iter().zip(texts);
            let named = named.map(|(file, text)| format!("{} {text}", file.label));
            format!("{title}: {}", named.collect::<Vec<_>>().join("; "))
        };
        return table::lines(&facts.map(line).collect::<Vec<_>>(), width, 2);
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(width).unwrap_or(u16::MAX));
    let labels = comparison.files.iter().map(|file| file.label.clone());
    table.set_header(std::iter::once("differs in".to_owned()).chain(labels));
    for (title, texts) in facts {
        table.add_row(std::iter::once(title).chain(texts));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// A block for each pair, all in the same columns.
fn pairs(against: &Against, width: usize, colour: bool) -> String {
    let baseline = against.baseline.as_str();
    let blocks: Vec<Vec<sheet::Line>> = against.pairs.iter().map(sheet::lines).collect();
    let all: Vec<&sheet::Line> = blocks.iter().flatten().collect();
    let ratio = format!("{}/{baseline}", against.file);
    let columns = table::fit(columns(&all, baseline, &against.file, &ratio), width);
    let mut laid = table::layout(&columns, all.len()).into_iter();
    // Header and rule.
    let mut text: Vec<String> = laid.by_ref().take(2).collect();
    let filled = against.pairs.iter().zip(&blocks);
    for (pair, block) in filled.filter(|(_, block)| !block.is_empty()) {
        if text.len() > 2 {
            text.push(String::new());
        }
        text.push(human::wrap(&sheet::name(pair), width, 2));
        let painted = laid
            .by_ref()
            .zip(block)
            .map(|(line, facts)| paint(line, facts, colour));
        text.extend(painted.take(block.len()));
    }
    text.join("\n")
}

/// The columns of all lines.
fn columns<'a>(
    lines: &[&sheet::Line],
    baseline: &'a str,
    other: &'a str,
    ratio: &'a str,
) -> Vec<Prepared<'a>> {
    let column = |title, importance, numeric, read: fn(&sheet::Line) -> &String| Prepared {
        importance,
        title,
        cells: Cells {
            unit: String::new(),
            texts: lines.iter().map(|line| read(line).clone()).collect(),
            numeric,
        },
    };
    vec![
        column("", 0, false, |line| &line.title),
        column(baseline, 0, true, |line| &line.baseline),
        column(other, 0, true, |line| &line.other),
        column(ratio, 0, true, |line| &line.ratio),
        column("95 % interval", 1, true, |line| &line.interval),
        column("verdict", 0, false, |line| &line.word),
    ]
}

/// The line with its verdict in colour: green, red, dim, yellow.
fn paint(line: String, facts: &sheet::Line, colour: bool) -> String {
    let Some(verdict) = facts.verdict.filter(|_| colour) else {
        return line;
    };
    let ansi = match verdict {
        Verdict::Better => 32,
        Verdict::Worse => 31,
        Verdict::NoDifference => 2,
        Verdict::NotComparable => 33,
    };
    match line.strip_suffix(&facts.word) {
        Some(start) => format!("{start}\u{1b}[{ansi}m{}\u{1b}[0m", facts.word),
        None => line,
    }
}
