//! What each memory budget buys, one line for each budget: shared by the text table and Markdown.

use super::columns::{Unit, Value};
use super::human::{self, Cells, Detail};
use super::table::Prepared;
use crate::report::{Report, Row, Step, steps};
use std::collections::BTreeSet;

/// What stands over it.
pub const TITLE: &str = "What each budget buys";

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
