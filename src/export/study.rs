//! Dense against Mixture of Experts for people and for data: a block for each pair, and what tokens cost by formulas that do not
//! agree. Shown where the study was asked for; elsewhere its words are part of the verdict.

mod data;

use super::columns::{Unit, Value};
use super::compare::sheet::{self, Line};
use super::human::{self, Cells, Detail};
use super::table::{self, Prepared};
use super::{markdown, notes, published, reuse, routers};
use crate::error::{Error, Result};
use crate::report::compare::{Judgement, Verdict};
use crate::report::{Basis, Priced, Ratio, Report, Side, Study, StudyPair};
use std::collections::BTreeMap;

/// What stands over the prices.
const PRICES: &str = "What 1,000,000 tokens cost by each formula";

/// The study of a report, where it was asked for.
fn asked(report: &Report) -> Option<&Study> {
    report.study.as_ref().filter(|study| study.asked)
}

/// The blocks of text.
pub fn blocks(report: &Report, width: usize) -> Vec<String> {
    let Some(study) = asked(report) else {
        return Vec::new();
    };
    let mut blocks = vec![pairs(study, notes::currency(&report.trials), width)];
    blocks.extend(published::blocks(study, width));
    blocks.extend(routers::blocks(study, width));
    blocks.extend(reuse::blocks(study, width));
    let prices = table::fit(prices(study), width);
    if let Some(first) = prices.first() {
        let laid = table::layout(&prices, first.cells.texts.len());
        blocks.push(format!("{PRICES}\n{}", laid.join("\n")));
    }
    blocks.push(table::lines(&remarks(study), width, 2));
    blocks
}

/// The same as Markdown.
pub fn markdown(report: &Report) -> Vec<String> {
    let Some(study) = asked(report) else {
        return Vec::new();
    };
    let currency = notes::currency(&report.trials);
    let mut blocks: Vec<String> = study
        .pairs
        .iter()
        .map(|pair| {
            let lines = lines(pair, currency);
            let columns = columns(&lines.iter().collect::<Vec<_>>());
            markdown::grid(Some(&markdown::escape(&name(pair))), &columns)
        })
        .collect();
    blocks.extend(published::markdown(study));
    blocks.extend(routers::markdown(study));
    blocks.extend(reuse::markdown(study));
    blocks.push(markdown::grid(Some(PRICES), &prices(study)));
    let remarks = remarks(study);
    let items = remarks
        .iter()
        .map(|text| format!("- {}", markdown::escape(text)));
    blocks.push(items.collect::<Vec<_>>().join("\n"));
    blocks
}

/// A block for each pair, all in the same columns.
fn pairs(study: &Study, currency: &str, width: usize) -> String {
    let blocks: Vec<Vec<Line>> = study
        .pairs
        .iter()
        .map(|pair| lines(pair, currency))
        .collect();
    let all: Vec<&Line> = blocks.iter().flatten().collect();
    let columns = table::fit(columns(&all), width);
    let mut laid = table::layout(&columns, all.len()).into_iter();
    // Header and rule.
    if study.pairs.is_empty() {
        return String::new();
    }
    let mut text: Vec<String> = laid.by_ref().take(2).collect();
    for (pair, block) in study.pairs.iter().zip(&blocks) {
        if text.len() > 2 {
            text.push(String::new());
        }
        text.push(human::wrap(&name(pair), width, 2));
        text.extend(laid.by_ref().take(block.len()));
    }
    text.join("\n")
}

/// The lines of a pair. Where one of the two did not run there are figures of the other, if any, and no ratios.
fn lines(pair: &StudyPair, currency: &str) -> Vec<Line> {
    let judged: Vec<Judgement> = pair.ratios.iter().map(judgement).collect();
    sheet::judged_lines(
        &judged,
        [Some(&pair.dense.memory), Some(&pair.moe.memory)],
        currency,
    )
}

/// A ratio as the comparison of files has it.
pub fn judgement(ratio: &Ratio) -> Judgement {
    let metric = ratio.metric;
    let all = [
        Verdict::Better,
        Verdict::Worse,
        Verdict::NoDifference,
        Verdict::NotComparable,
    ];
    let verdict = all
        .into_iter()
        .find(|verdict| metric.word(*verdict) == ratio.verdict)
        .unwrap_or(Verdict::NotComparable);
    Judgement {
        metric,
        baseline: ratio.dense,
        other: ratio.moe,
        ratio: ratio.ratio,
        ci95: ratio.ci95,
        word: metric.word(verdict),
        verdict,
        reason: None,
        not_measured: reasons(ratio),
    }
}

/// Why figures of a ratio are missing, by the names of the comparison of files.
fn reasons(ratio: &Ratio) -> BTreeMap<&'static str, String> {
    let names = [
        ("dense", "baseline"),
        ("moe", "other"),
        ("ratio", "ratio"),
        ("ci95", "ci95"),
    ];
    names
        .into_iter()
        .filter_map(|(ours, theirs)| Some((theirs, ratio.not_measured.get(ours)?.clone())))
        .collect()
}

fn columns(lines: &[&Line]) -> Vec<Prepared<'static>> {
    let column = |title, importance, numeric, read: fn(&Line) -> &String| Prepared {
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
        column("dense", 0, true, |line| &line.baseline),
        column("MoE", 0, true, |line| &line.other),
        column("MoE/dense", 0, true, |line| &line.ratio),
        column("95 % interval", 1, true, |line| &line.interval),
        column("the MoE is", 0, false, |line| &line.word),
    ]
}

/// A pair by what it is and what was run.
fn name(pair: &StudyPair) -> String {
    let count = |side: &Side| {
        let params = &side.params;
        let active = pair.basis == Basis::Active;
        // Only rows whose count is known make a pair.
        let count = params.active.filter(|_| active).unwrap_or(params.total);
        format!("{} ({} M)", side.model, human::short(count as f64 / 1e6))
    };
    let basis = match (pair.basis, pair.matched) {
        (Basis::Total, true) => "equal total parameters",
        (Basis::Active, true) => "equal active parameters",
        (Basis::Total, false) => "about the same total parameters, not matched",
        (Basis::Active, false) => "about the same active parameters, not matched",
        (Basis::OneExpert, _) => "the same FFN as the only expert of a router",
        (Basis::AsPublished, _) => "as published, not matched",
    };
    let precision = if pair.dense.precision == pair.moe.precision {
        pair.dense.precision.clone()
    } else {
        format!("{} against {}", pair.moe.precision, pair.dense.precision)
    };
    let offload = pair.offload.as_ref();
    let offload = offload.map_or_else(String::new, |asked| format!(", offload {asked}"));
    human::one_line(&format!(
        "{} against {}, {basis}; {} {precision}, batch {}, {} prompt, {} generated, budget {}",
        count(&pair.moe),
        count(&pair.dense),
        pair.form,
        pair.batch,
        pair.prompt_tokens,
        pair.gen_tokens,
        human::bytes(pair.budget_bytes) + &offload
    ))
}

/// One line for each model: its speed, and its price by each formula.
pub fn prices(study: &Study) -> Vec<Prepared<'static>> {
    let rows = &study.prices;
    let Some(first) = rows.first() else {
        return Vec::new();
    };
    let speeds: Vec<Value> = rows.iter().map(|row| row.decode_tok_s.into()).collect();
    let model = |row: &Priced| human::one_line(&row.model);
    let mut columns = vec![
        Prepared {
            importance: 0,
            title: "model",
            cells: Cells {
                unit: String::new(),
                texts: rows.iter().map(model).collect(),
                numeric: false,
            },
        },
        Prepared {
            importance: 1,
            title: "decode",
            cells: human::cells(Unit::TokensPerSecond, &speeds, Detail::Mean, ""),
        },
    ];
    for (place, price) in first.prices.iter().enumerate() {
        let of_row = |row: &Priced| row.prices.get(place).and_then(|one| one.per_million_tokens);
        let values: Vec<Value> = rows.iter().map(|row| of_row(row).into()).collect();
        columns.push(Prepared {
            importance: 0,
            title: price.formula.name(),
            cells: human::cells(
                Unit::MoneyPerMillion,
                &values,
                Detail::Mean,
                &price.currency,
            ),
        });
    }
    columns
}

/// What the formulas are, and how the pairs are compared.
fn remarks(study: &Study) -> Vec<String> {
    let mut remarks = Vec::new();
    for row in study.prices.iter().take(1) {
        remarks.extend(
            row.prices
                .iter()
                .map(|price| human::one_line(&format!("{}: {}.", price.formula.name(), price.how))),
        );
    }
    if !study.pairs.is_empty() {
        remarks.push(human::one_line(&format!("Pairs: {}", study.method)));
    }
    remarks
}

/// The columns of data.
const HEADER: [&str; 27] = [
    "basis",
    "matched",
    "mismatch",
    "size_ratio",
    "dense_model",
    "moe_model",
    "dense_row",
    "moe_row",
    "dense_precision",
    "moe_precision",
    "device",
    "form",
    "batch",
    "prompt_tokens",
    "gen_tokens",
    "budget_bytes",
    "metric",
    "dense",
    "moe",
    "ratio",
    "ratio_ci95_low",
    "ratio_ci95_high",
    "verdict",
    "ratio_intervals_of",
    "offload",
    "dense_pinned_bytes",
    "moe_pinned_bytes",
];

/// The study as CSV, base units, an empty cell for what is not known: the pairs, one quantity of one pair on each line, and behind an
/// empty line each, with headers of their own, the prices, what was measured as published and the routers, where there are any.
pub fn csv(report: &Report) -> Result<String> {
    let wrong = |cause: Box<dyn std::error::Error>| Error::Bug(cause.to_string());
    let mut tables = vec![write(report).map_err(wrong)?];
    for table in report.study.iter().flat_map(data::tables) {
        tables.push(table.map_err(wrong)?);
    }
    Ok(tables.join("\n"))
}

fn write(report: &Report) -> std::result::Result<String, Box<dyn std::error::Error>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER)?;
    for pair in report.study.iter().flat_map(|study| &study.pairs) {
        for ratio in &pair.ratios {
            let number =
                |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
            let bytes =
                |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
            let end = |place: usize| number(ratio.ci95.map(|ends| ends[place]));
            let figures = [
                ratio.metric.name().to_owned(),
                number(ratio.dense),
                number(ratio.moe),
                number(ratio.ratio),
                end(0),
                end(1),
                ratio.verdict.clone(),
                ratio.intervals_of.clone().unwrap_or_default(),
                pair.offload.clone().unwrap_or_default(),
                bytes(pair.dense.pinned_bytes),
                bytes(pair.moe.pinned_bytes),
            ];
            writer.write_record(work(pair).into_iter().chain(figures))?;
        }
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// What was run, as data.
fn work(pair: &StudyPair) -> Vec<String> {
    let basis = match pair.basis {
        Basis::Total => "total",
        Basis::Active => "active",
        Basis::OneExpert => "one_expert",
        Basis::AsPublished => "as_published",
    };
    vec![
        basis.to_owned(),
        pair.matched.to_string(),
        pair.mismatch.clone().unwrap_or_default(),
        pair.size_ratio.to_string(),
        pair.dense.model.clone(),
        pair.moe.model.clone(),
        pair.dense.row.clone(),
        pair.moe.row.clone(),
        pair.dense.precision.clone(),
        pair.moe.precision.clone(),
        pair.device.clone(),
        pair.form.clone(),
        pair.batch.to_string(),
        pair.prompt_tokens.to_string(),
        pair.gen_tokens.to_string(),
        pair.budget_bytes.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::{Format, render};
    use super::*;
    use crate::report::compare::Quantity;
    use crate::report::studied;

    #[test]
    fn as_text_at_80_columns() {
        let text = render(&studied(), Format::Table, Some(80), false).unwrap();
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        insta::assert_snapshot!(blocks(&studied(), 80).join("\n\n"));
    }

    #[test]
    fn as_markdown_every_line_of_a_table_has_its_cells() {
        let text = markdown(&studied()).join("\n\n");
        let bars = |line: &&str| line.starts_with('|');
        let counts: Vec<usize> = text
            .lines()
            .filter(bars)
            .map(|line| line.matches('|').count())
            .collect();
        assert!(counts.len() > 10, "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn as_csv_each_quantity_of_each_pair_has_a_line() {
        let all = csv(&studied()).unwrap();
        let (text, _) = all.split_once("\n\n").unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let records: Vec<_> = reader.records().map(|record| record.unwrap()).collect();
        let pairs = studied().study.unwrap().pairs;
        assert_eq!(records.len(), pairs.len() * Quantity::STUDIED.len());
        let ratio = pairs[0].ratios[0].ratio.unwrap();
        assert_eq!(records[0][19].parse::<f64>().unwrap(), ratio);
        // Energy was not measured: nothing, and not 0.
        assert_eq!(
            (&records[3][16], &records[3][19]),
            ("energy_per_token_j", "")
        );
    }

    #[test]
    fn a_run_that_did_not_ask_shows_no_tables() {
        let mut report = studied();
        report.study.as_mut().unwrap().asked = false;
        assert!(blocks(&report, 80).is_empty() && markdown(&report).is_empty());
        assert!(report.verdict.unwrap().contains("equal total parameters"));
    }

    #[test]
    fn what_does_not_fit_has_no_ratios_and_the_verdict_says_who_does() {
        let mut report = studied();
        report.trials[1].status = "does_not_fit".into();
        assert_eq!(
            judgement(&report.study.unwrap().pairs[0].ratios[0]).verdict,
            Verdict::Better
        );
    }
}
