//! Ceilings for people: a small table below the rows, the remarks that go with it, and one line for each when it is found.

use super::columns::{Unit, Value};
use super::human::{self, Cells, Detail, MISSING};
use super::lists::grouped;
use super::table::Prepared;
use crate::report::Ceiling;

/// The columns of those that were searched for; none where there is no such ceiling.
pub fn columns(ceilings: &[Ceiling]) -> Vec<Prepared<'static>> {
    let shown: Vec<&Ceiling> = ceilings.iter().filter(|one| is_searched(one)).collect();
    if shown.is_empty() {
        return Vec::new();
    }
    let words = |importance, title, get: &dyn Fn(&Ceiling) -> String, numeric| Prepared {
        importance,
        title,
        cells: Cells {
            unit: String::new(),
            texts: shown.iter().map(|one| human::one_line(&get(one))).collect(),
            numeric,
        },
    };
    let numbers = |importance, title, unit, get: &dyn Fn(&Ceiling) -> Value| {
        let values: Vec<Value> = shown.iter().map(|one| get(one)).collect();
        Prepared {
            importance,
            title,
            cells: human::cells(unit, &values, Detail::Mean, ""),
        }
    };
    let differ = |get: &dyn Fn(&Ceiling) -> String| {
        shown.windows(2).any(|pair| get(pair[0]) != get(pair[1]))
    };
    let form = |one: &Ceiling| one.form.clone();
    let budget = |one: &Ceiling| human::bytes(one.budget_bytes);
    let count =
        |count: Option<u32>| count.map_or(MISSING.to_owned(), |count| grouped(count.into()));
    let mut columns = vec![words(0, "ceiling", &kind, false)];
    columns.push(words(0, "model", &|one| or_missing(&one.model), false));
    if differ(&form) {
        columns.push(words(1, "form", &form, false));
    }
    columns.push(words(
        1,
        "precision",
        &|one| or_missing(&one.precision),
        false,
    ));
    if differ(&budget) {
        columns.push(words(0, "budget", &budget, true));
    }
    columns.push(words(0, "fits", &|one| count(one.fits), true));
    columns.push(words(0, "fails", &|one| count(one.fails), true));
    columns.push(words(2, "limited by", &limit, false));
    columns.push(numbers(3, "peak", Unit::Bytes, &|one| {
        one.peak_bytes.into()
    }));
    columns.push(numbers(4, "decode", Unit::TokensPerSecond, &|one| {
        one.decode_tok_s.into()
    }));
    columns.push(numbers(6, "TTFT", Unit::Millis, &|one| one.ttft_ms.into()));
    columns.push(words(7, "predicted", &|one| count(one.predicted), true));
    columns.push(words(
        5,
        "trials",
        &|one| one.trials.len().to_string(),
        true,
    ));
    columns
}

fn is_searched(ceiling: &Ceiling) -> bool {
    ["measured", "not_closed"].contains(&ceiling.status.as_str())
}

fn or_missing(text: &Option<String>) -> String {
    text.clone().unwrap_or_else(|| MISSING.to_owned())
}

/// What is searched for, with the lengths of a batch.
fn kind(ceiling: &Ceiling) -> String {
    let lengths = ceiling.prompt_tokens.zip(ceiling.gen_tokens);
    match (ceiling.kind.as_str(), lengths) {
        ("batch", Some((prompt, generated))) => format!("batch {prompt}+{generated}"),
        (other, _) => other.to_owned(),
    }
}

fn limit(ceiling: &Ceiling) -> String {
    match (&ceiling.limited_by, ceiling.status.as_str()) {
        (Some(limit), _) => limit.replace('_', " "),
        (None, "not_closed") => "not closed".to_owned(),
        (None, _) => MISSING.to_owned(),
    }
}

/// The name of a ceiling in a sentence.
fn name(ceiling: &Ceiling) -> String {
    match (&ceiling.model, &ceiling.precision) {
        (Some(model), Some(precision)) if ceiling.kind != "model" => {
            format!("{model} {} {precision}, {}", ceiling.form, kind(ceiling))
        }
        _ => "largest model".to_owned(),
    }
}

/// Everything a reader must know besides the figures.
pub fn remarks(ceilings: &[Ceiling]) -> Vec<String> {
    let mut remarks: Vec<String> = ceilings.iter().filter_map(remark).collect();
    let waiting = ceilings
        .iter()
        .filter(|one| one.status == "pending")
        .count();
    if waiting > 0 {
        remarks.push(format!(
            "Unfinished: {waiting} of {} ceilings were not searched for to the end.",
            ceilings.len()
        ));
    }
    if ceilings.iter().any(is_searched) {
        remarks.push(
            "Ceilings: `context` is the longest prompt and text of one sequence in tokens, `batch` the most sequences at these lengths; each size ran in a worker of its own, one prompt and a few decode steps with nothing warmed up."
                .to_owned(),
        );
    }
    remarks
}

fn remark(ceiling: &Ceiling) -> Option<String> {
    let reason = ceiling.reason.as_deref()?;
    let limit = ceiling.limited_by.as_deref().unwrap_or_default();
    let told = ["margin", "throughput_cliff", "failure"].contains(&limit);
    let open = ["not_closed", "not_searched"].contains(&ceiling.status.as_str());
    let name = name(ceiling);
    let sentence = match (&ceiling.remembered_from, ceiling.status.as_str()) {
        (_, "not_searched") => format!("{name}: not searched for: {reason}"),
        (Some(date), _) => format!(
            "{name}: {} failed on {date} and was not tried again (`edgebench cache clear` forgets it): {reason}",
            ceiling.fails?
        ),
        _ if told || open || ceiling.kind == "model" => format!("{name}: {reason}"),
        _ => return None,
    };
    Some(human::one_line(&sentence))
}

/// A finished ceiling in a few words, for the progress lines.
pub fn summary(ceiling: &Ceiling) -> String {
    let name = name(ceiling);
    let reason = ceiling.reason.as_deref().unwrap_or("no reason was told");
    if !is_searched(ceiling) {
        return human::one_line(&format!("{name}: not searched for: {reason}"));
    }
    let found = match (&ceiling.model, ceiling.fits) {
        (Some(model), None) if ceiling.kind == "model" => {
            format!("{model} {} fits", or_missing(&ceiling.precision))
        }
        (_, Some(size)) => format!("fits {}", grouped(size.into())),
        _ => "nothing fits".to_owned(),
    };
    let fails = match (&ceiling.larger, ceiling.fails) {
        (Some(larger), _) => format!(", not {} {}", larger.model, larger.precision),
        (None, Some(size)) => format!(", fails {}", grouped(size.into())),
        (None, None) => String::new(),
    };
    let peak = ceiling.peak_bytes.map_or(String::new(), |peak| {
        format!(", peak {}", human::bytes(peak))
    });
    let count = ceiling.trials.len();
    let trials = if count == 1 { "trial" } else { "trials" };
    human::one_line(&format!(
        "{name}: {found}{fails} ({}){peak}, {count} {trials}",
        limit(ceiling)
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{Format, render};
    use super::*;
    use crate::report::{CeilingTrial, LargerModel, Report, fixture, with_ceilings};
    use std::collections::BTreeMap;

    fn ceiling(kind: &str, model: &str, fits: u32, fails: Option<u32>, limit: &str) -> Ceiling {
        let trial = CeilingTrial {
            size: Some(fits),
            id: format!("{model}/fused/fp16/b1/pp{fits}/tg16"),
            status: "ok".to_owned(),
            reason: None,
            failed_phase: None,
            predicted_peak_bytes: Some(1 << 30),
            peak_bytes: Some(3 << 30),
            ttft_ms: Some(412.5),
            decode_tok_s: Some(41.25),
            wall_s: Some(2.5),
            not_measured: BTreeMap::new(),
        };
        Ceiling {
            kind: kind.to_owned(),
            model: Some(model.to_owned()),
            form: "fused".to_owned(),
            precision: Some("fp16".to_owned()),
            device: "cuda:0".to_owned(),
            budget_bytes: 4 << 30,
            batch: (kind == "context").then_some(1),
            prompt_tokens: (kind == "batch").then_some(256),
            gen_tokens: Some(if kind == "batch" { 128 } else { 16 }),
            granularity: Some(64),
            status: "measured".to_owned(),
            reason: Some(format!("{limit} is why")),
            fits: Some(fits),
            fails,
            limited_by: Some(limit.to_owned()),
            predicted: Some(fits + 64),
            peak_bytes: trial.peak_bytes,
            ttft_ms: trial.ttft_ms,
            decode_tok_s: trial.decode_tok_s,
            trials: vec![trial],
            method: "as told".to_owned(),
            ..Ceiling::default()
        }
    }

    fn report() -> Report {
        let mut cliff = ceiling("batch", "llama-1b", 31, Some(32), "throughput_cliff");
        cliff.peak_bytes = None;
        let mut remembered = ceiling("context", "llama-1b", 18_432, Some(18_496), "memory");
        remembered.remembered_from = Some("2026-01-01T00:00:00Z".to_owned());
        let mut waiting = ceiling("batch", "granite-1b-a400m", 1, None, "memory");
        waiting.status = "not_searched".to_owned();
        let mut largest = ceiling("model", "llama-1b", 1, None, "memory");
        (largest.fits, largest.granularity) = (None, None);
        largest.larger = Some(LargerModel {
            model: "granite-1b-a400m".to_owned(),
            precision: "fp16".to_owned(),
            predicted_peak_bytes: 5 << 30,
            status: "not_run".to_owned(),
            reason: "it is predicted to need 5.00 GiB".to_owned(),
        });
        let ceilings = [
            ceiling("context", "dense-120m", 1024, None, "positions"),
            remembered,
            cliff,
            waiting,
            largest,
        ];
        with_ceilings(fixture(), &ceilings)
    }

    #[test]
    fn table_at_80_columns() {
        insta::assert_snapshot!(render(&report(), Format::Table, None, false).unwrap());
    }

    #[test]
    fn markdown() {
        insta::assert_snapshot!(render(&report(), Format::Markdown, None, false).unwrap());
    }

    #[test]
    fn jsonl_has_rows_first_and_each_ceiling_under_its_name() {
        let text = render(&report(), Format::Jsonl, None, false).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let (rows, others) = lines.split_at(report().trials.len());
        let (ceilings, last) = others.split_at(report().ceilings.len());
        assert!(
            rows.iter()
                .all(|row| row["status"].is_string() && row["ceiling"].is_null())
        );
        assert_eq!((ceilings.len(), last.len()), (5, 1));
        assert!(last[0]["schema_version"].is_string() && last[0]["study"].is_object());
        let named = |line: &serde_json::Value| {
            line["schema_version"].is_string() && line["ceiling"]["kind"].is_string()
        };
        assert!(ceilings.iter().all(named));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [60, 80, 100, 160] {
            let text = render(&report(), Format::Table, Some(width), false).unwrap();
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{widest} > {width}\n{text}");
        }
    }

    #[test]
    fn a_ceiling_in_a_few_words() {
        let lines: Vec<String> = report().ceilings.iter().map(summary).collect();
        assert_eq!(
            lines,
            [
                "dense-120m fused fp16, context: fits 1,024 (positions), peak 3.00 GiB, 1 trial",
                "llama-1b fused fp16, context: fits 18,432, fails 18,496 (memory), peak 3.00 GiB, 1 trial",
                "llama-1b fused fp16, batch 256+128: fits 31, fails 32 (throughput cliff), 1 trial",
                "granite-1b-a400m fused fp16, batch 256+128: not searched for: memory is why",
                "largest model: llama-1b fp16 fits, not granite-1b-a400m fp16 (memory), peak 3.00 GiB, 1 trial",
            ]
        );
    }

    #[test]
    fn a_report_without_ceilings_reads_as_ever() {
        for format in [Format::Table, Format::Markdown, Format::Csv, Format::Jsonl] {
            let plain = render(&fixture(), format, None, false).unwrap();
            let none = render(&with_ceilings(fixture(), &[]), format, None, false).unwrap();
            assert_eq!(plain, none);
            assert!(!plain.contains("eiling"), "{format}");
        }
    }
}
