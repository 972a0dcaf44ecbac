//! Baselines for people and programs: the list of all, and what one holds.

use super::human::{self, Detail};
use super::lists::{WIDTH, pretty, table};
use super::{Format, columns};
use crate::baseline::{Baseline, Listed, Origin, Part};
use crate::error::{Error, Result};
use crate::report;
use crate::report::compare::{Case, Quantity, Run, Source};
use serde_json::{Value, json};

/// All baselines.
pub fn list(all: &[Listed], as_json: bool) -> Result<String> {
    if as_json {
        let one = |listed: &Listed| match listed {
            Ok(baseline) => facts(baseline),
            Err((name, error)) => json!({ "name": name, "error": error.to_string() }),
        };
        return pretty(&Value::Array(all.iter().map(one).collect()));
    }
    let one = |listed: &Listed| match listed {
        Ok(baseline) => head(baseline),
        Err((name, error)) => {
            human::wrap(
                &human::one_line(&format!("{name}: unusable: {error}")),
                WIDTH,
                2,
            ) + "\n"
        }
    };
    let blocks: Vec<String> = all.iter().map(one).collect();
    Ok(blocks.join("\n"))
}

/// One baseline: what it is, and its tables.
pub fn show(baseline: &Baseline, width: Option<usize>, colour: bool) -> Result<String> {
    let mut text = head(baseline);
    for part in &baseline.parts {
        if baseline.parts.len() > 1 {
            text.push_str(&format!("\n{}\n", human::one_line(&part.run.file)));
        }
        text.push('\n');
        text.push_str(&match part.run.source {
            Source::Edgebench => {
                let report = report::from_json(&part.text)?;
                super::render(&report, Format::Table, width, colour)?
            }
            Source::LlamaBench | Source::Published => figures(&part.run),
        });
    }
    Ok(text)
}

/// One baseline with its files whole.
pub fn as_json(baseline: &Baseline) -> Result<String> {
    let mut value = facts(baseline);
    for (place, part) in baseline.parts.iter().enumerate() {
        let content: Value =
            serde_json::from_str(&part.text).map_err(|cause| Error::Bug(cause.to_string()))?;
        value["parts"][place]["content"] = content;
    }
    pretty(&value)
}

/// Name, origin and files in words.
fn head(baseline: &Baseline) -> String {
    let origin = match &baseline.origin {
        Origin::BuiltIn => "built in".to_owned(),
        Origin::Added(path) => format!("added, {}", path.display()),
    };
    let summary = baseline.summary.as_ref();
    let summary = summary.map_or_else(String::new, |summary| format!(": {summary}"));
    let first = format!("{} ({origin}){summary}", baseline.name);
    let mut text = human::wrap(&human::one_line(&first), WIDTH, 2) + "\n";
    for part in &baseline.parts {
        let wrapped = human::wrap(&human::one_line(&of_part(part)), WIDTH - 2, 2);
        text.extend(wrapped.lines().map(|line| format!("  {line}\n")));
    }
    text
}

/// Machine, date and command of a file.
fn of_part(part: &Part) -> String {
    let run = &part.run;
    let unknown = |what: &str| format!("{what} not told");
    let machine = run.machine().unwrap_or_else(|| unknown("machine"));
    let date = run.started_utc.clone();
    let date = date.unwrap_or_else(|| unknown("date"));
    let how = match (&run.command, run.source) {
        (Some(command), _) => format!("`{command}`"),
        (None, Source::Published) => "published, other method".to_owned(),
        (None, Source::LlamaBench) => "llama-bench".to_owned(),
        (None, Source::Edgebench) => unknown("command"),
    };
    let rows = match run.cases.len() {
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    };
    format!("{machine}, {date}, {rows}: {how}")
}

/// The same for programs.
fn facts(baseline: &Baseline) -> Value {
    let (origin, path) = match &baseline.origin {
        Origin::BuiltIn => ("built_in", None),
        Origin::Added(path) => ("added", Some(path.display().to_string())),
    };
    let part = |part: &Part| {
        let run = &part.run;
        json!({
            "file": run.file,
            "source": run.source,
            "machine": run.machine(),
            "started_utc": run.started_utc,
            "command": run.command,
            "rows": run.cases.len(),
        })
    };
    json!({
        "name": baseline.name,
        "origin": origin,
        "path": path,
        "summary": baseline.summary,
        "parts": baseline.parts.iter().map(part).collect::<Vec<_>>(),
    })
}

/// The figures of a file that is no result of edgebench, and what keeps them from being compared.
fn figures(run: &Run) -> String {
    let shown = [
        (
            Quantity::DecodeTokS,
            columns::Unit::TokensPerSecond,
            "decode",
        ),
        (
            Quantity::PrefillTokS,
            columns::Unit::TokensPerSecond,
            "prefill",
        ),
        (Quantity::TtftMs, columns::Unit::Millis, "TTFT"),
        (Quantity::PeakBytes, columns::Unit::Bytes, "peak"),
        (
            Quantity::CostPerMillionTokens,
            columns::Unit::MoneyPerMillion,
            "cost",
        ),
    ];
    let currency = run.cases.iter().find_map(|case| case.currency.clone());
    let mut titles = vec!["row".to_owned()];
    let mut cells: Vec<Vec<String>> = vec![run.cases.iter().map(|case| case.id.clone()).collect()];
    for (quantity, unit, title) in shown {
        let value = |case: &Case| {
            let figure = case.figure(quantity).and_then(|figure| figure.value());
            figure.map_or(columns::Value::Missing, columns::Value::Number)
        };
        let values: Vec<columns::Value> = run.cases.iter().map(value).collect();
        let column = human::cells(
            unit,
            &values,
            Detail::Mean,
            currency.as_deref().unwrap_or_default(),
        );
        titles.push(format!("{title} {}", column.unit).trim().to_owned());
        cells.push(column.texts);
    }
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let rows = (0..run.cases.len()).map(|row| {
        cells
            .iter()
            .map(|column| human::one_line(&column[row]))
            .collect()
    });
    let mut text = table(&titles, rows, 1..titles.len());
    let mut reasons: Vec<&String> = run.cases.iter().flat_map(|case| &case.obstacles).collect();
    reasons.dedup();
    for reason in reasons {
        let line = format!("not comparable: {reason}");
        text.push_str(&(human::wrap(&human::one_line(&line), WIDTH, 2) + "\n"));
    }
    text
}
