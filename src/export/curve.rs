//! What each memory budget buys, one line for each budget: shared by the text table and Markdown.

use super::columns::{Unit, Value};
use super::human::{self, Cells, Detail};
use super::table::Prepared;
use crate::report::{Report, Row, Step, budgets, is_same_work, steps, variant};
use std::collections::BTreeSet;

/// What stands over it.
pub const TITLE: &str = "What each budget buys";

/// What stands over the speeds.
pub const SPEEDS: &str = "Decode speed in each budget, tokens/s";

/// Budgets beside each other at most in one table for people; more would leave no room for the models' names.
const MOST_BUDGETS: usize = 12;

/// One line for each model, one column for each budget; none where there is one budget or a line would be of one budget only.
pub fn speeds(report: &Report) -> Vec<Prepared<'static>> {
    let budgets = budgets(&report.trials);
    if !(2..=MOST_BUDGETS).contains(&budgets.len()) {
        return Vec::new();
    }
    let mut works: Vec<&Row> = Vec::new();
    for row in &report.trials {
        if !works.iter().any(|first| is_same_work(first, row)) {
            works.push(row);
        }
    }
    let text = |texts, numeric, importance, title| Prepared {
        importance,
        title,
        cells: Cells {
            unit: String::new(),
            texts,
            numeric,
        },
    };
    let variants: BTreeSet<String> = works.iter().map(|row| variant(row)).collect();
    let named = |row: &&Row| match variants.len() {
        1 => human::one_line(&row.model),
        _ => human::one_line(&format!("{} {}", row.model, variant(row))),
    };
    let names = works.iter().map(named).collect();
    let mut columns = vec![text(names, false, 0, "model")];
    for (place, budget) in budgets.iter().enumerate() {
        let cell = |first: &&Row| {
            let rows = report.trials.iter();
            let mut rows = rows.filter(|row| row.memory.budget_bytes == *budget);
            in_budget(rows.find(|row| is_same_work(first, row)))
        };
        let mut column = text(works.iter().map(cell).collect(), true, place as u8 + 1, "");
        column.cells.unit = briefly(*budget);
        columns.push(column);
    }
    columns
}

/// A budget as it is given on the command line.
fn briefly(budget: u64) -> String {
    const MIB: u64 = 1 << 20;
    match budget {
        whole if whole.is_multiple_of(1024 * MIB) => format!("{}G", whole / (1024 * MIB)),
        half if half > 1024 * MIB && half.is_multiple_of(512 * MIB) => {
            format!("{:.1}G", half as f64 / (1024 * MIB) as f64)
        }
        other if other.is_multiple_of(MIB) => format!("{}M", other / MIB),
        other => human::bytes(other),
    }
}

/// A row's decode speed, starred where weights were in main memory; else in a word what became of it.
fn in_budget(row: Option<&Row>) -> String {
    let Some(row) = row else {
        return missing();
    };
    let mapped = row
        .offload
        .as_ref()
        .map_or(0, |offload| offload.mapped_bytes);
    match (&row.decode_tok_s, row.status.as_str()) {
        (Some(speed), "ok") if mapped > 0 => format!("{}*", human::short(speed.mean)),
        (Some(speed), "ok") => human::short(speed.mean),
        (_, "does_not_fit" | "out_of_memory") => "no".to_owned(),
        (_, status) => status.replace('_', " "),
    }
}

/// What the speeds' marks mean, and what each pair of models shows over the budgets.
pub fn remarks(report: &Report) -> Vec<String> {
    if speeds(report).is_empty() {
        return Vec::new();
    }
    let rows = report.trials.iter();
    let is_mapped = |row: &Row| row.offload.as_ref().is_some_and(|one| one.mapped_bytes > 0);
    let mut marks = Vec::new();
    if rows.clone().any(is_mapped) {
        marks.push("*: with weights in main memory");
    }
    if rows.clone().any(|row| in_budget(Some(row)) == "no") {
        marks.push("no: it does not run inside that budget");
    }
    let mut remarks = match marks.as_slice() {
        [] => Vec::new(),
        marks => vec![format!("{}.", marks.join("; "))],
    };
    let curves = report.study.iter().flat_map(|study| &study.curves);
    remarks.extend(curves.map(|curve| human::one_line(&curve.verdict)));
    remarks
}

/// Letters of the longest bar.
const BAR: usize = 16;

/// What a row's weights and KV cache are.
fn kind(row: &Row) -> (&str, &str) {
    (&row.precision, &row.kv_cache_type)
}

/// The columns without the drawing.
pub fn undrawn(report: &Report) -> Option<Vec<Prepared<'static>>> {
    let mut columns = columns(report)?;
    columns.pop();
    Some(columns)
}

/// The columns of the curve; `None` where there is one budget only, which buys what the table says.
pub fn columns(report: &Report) -> Option<Vec<Prepared<'static>>> {
    let steps = steps(&report.trials);
    if steps.len() < 2 {
        return None;
    }
    let words = |importance, title, numeric, texts| Prepared {
        importance,
        title,
        cells: Cells {
            unit: String::new(),
            texts,
            numeric,
        },
    };
    let budgets = steps.iter().map(|step| human::bytes(step.budget_bytes));
    let fitting = steps
        .iter()
        .map(|step| format!("{} of {}", step.fitting, step.models));
    // What fits a small budget may be the same model in fewer bits.
    let rows = report.trials.iter();
    let kinds: BTreeSet<(&str, &str)> = rows.map(kind).collect();
    let precisions: BTreeSet<&str> = kinds.iter().map(|(precision, _)| *precision).collect();
    let name = |row: &Row| {
        let (precision, cache) = kind(row);
        let mut name = row.model.clone();
        if precisions.len() > 1 {
            name.push_str(&format!(" {precision}"));
        }
        if kinds.len() > precisions.len() {
            name.push_str(&format!(" (KV cache {cache})"));
        }
        human::one_line(&name)
    };
    let model = |row: Option<&Row>| row.map_or_else(missing, name);
    Some(vec![
        words(0, "budget", true, budgets.collect()),
        words(0, "models", true, fitting.collect()),
        words(
            0,
            "largest that ran",
            false,
            steps.iter().map(|step| model(step.largest)).collect(),
        ),
        figures(3, "total", Unit::Parameters, &steps, |step| {
            step.largest.map(|row| row.params.total).into()
        }),
        figures(2, "peak", Unit::Bytes, &steps, |step| {
            step.largest.and_then(|row| row.memory.peak_bytes).into()
        }),
        figures(1, "decode", Unit::TokensPerSecond, &steps, |step| {
            speed(step.largest)
        }),
        words(
            5,
            "fastest",
            false,
            steps.iter().map(|step| model(step.fastest)).collect(),
        ),
        figures(4, "fastest decode", Unit::TokensPerSecond, &steps, |step| {
            speed(step.fastest)
        }),
        words(
            1,
            "largest by parameters",
            false,
            bars(
                &steps
                    .iter()
                    .map(|step| step.largest.map_or(0, |row| row.params.total))
                    .collect::<Vec<_>>(),
            ),
        ),
    ])
}

fn missing() -> String {
    human::MISSING.to_owned()
}

/// Mean decode speed of a row.
fn speed(row: Option<&Row>) -> Value {
    let metric = row.and_then(|row| row.decode_tok_s.as_ref());
    metric.map(|metric| metric.mean).into()
}

/// A column of numbers.
fn figures(
    importance: u8,
    title: &'static str,
    unit: Unit,
    steps: &[Step<'_>],
    read: fn(&Step<'_>) -> Value,
) -> Prepared<'static> {
    let values: Vec<Value> = steps.iter().map(read).collect();
    Prepared {
        importance,
        title,
        cells: human::cells(unit, &values, Detail::Mean, ""),
    }
}

/// Bars as long as the values, the largest of them [`BAR`] letters, to an eighth of a letter. Zero has none, and what is
/// larger has one that is seen.
pub fn bars(values: &[u64]) -> Vec<String> {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let bar = |value: &u64| {
        let exact = u128::from(*value) * 8 * BAR as u128 / u128::from(most);
        let eighths = (exact as usize).max(usize::from(*value > 0));
        format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_proportional_and_the_smallest_is_seen() {
        assert_eq!(
            bars(&[0, 1, 500, 1000]),
            ["", "▏", "████████", "████████████████"]
        );
        assert_eq!(bars(&[0]), [""]);
        assert_eq!(bars(&[u64::MAX, 7])[1], "▏");
        assert!(bars(&[]).is_empty());
    }
}
