//! What each step of `--ablate` buys, one line for each: shared by the text table and Markdown.

use super::columns::{Unit, Value};
use super::human::{self, Cells, Detail};
use super::table::Prepared;
use crate::report::{Report, Rung, rungs};

/// What stands over it.
pub const TITLE: &str = "What each step buys";

/// The columns; `None` where nobody asked for the steps.
pub fn columns(report: &Report) -> Option<Vec<Prepared<'static>>> {
    let rungs = rungs(&report.trials);
    if rungs.is_empty() {
        return None;
    }
    let words = |title, numeric, texts| Prepared {
        importance: 0,
        title,
        cells: Cells {
            unit: String::new(),
            texts,
            numeric,
        },
    };
    let figures = |importance, title, unit, values: Vec<Value>| Prepared {
        importance,
        title,
        cells: human::cells(unit, &values, Detail::Spread, ""),
    };
    let read = |value: fn(&Rung<'_>) -> Value| rungs.iter().map(value).collect::<Vec<Value>>();
    let times = |value: fn(&Rung<'_>) -> Option<f64>| {
        let text = |rung| value(rung).map_or(human::MISSING.to_owned(), human::ratio);
        rungs.iter().map(text).collect::<Vec<String>>()
    };
    let name =
        |rung: &Rung<'_>| human::one_line(&format!("{} {}", rung.row.model, rung.row.precision));
    Some(vec![
        words("model", false, rungs.iter().map(name).collect()),
        words(
            "step",
            false,
            rungs.iter().map(|rung| rung.adds.to_owned()).collect(),
        ),
        figures(
            0,
            "decode",
            Unit::TokensPerSecond,
            read(|rung| match &rung.row.decode_tok_s {
                Some(metric) => Value::Spread(metric.mean, metric.sd),
                None => Value::Missing,
            }),
        ),
        words("x before", true, times(|rung| rung.over_previous)),
        words("x first", true, times(|rung| rung.over_first)),
        figures(
            1,
            "TTFT",
            Unit::Millis,
            read(|rung| rung.row.ttft_ms.as_ref().map(|metric| metric.mean).into()),
        ),
        figures(
            1,
            "peak",
            Unit::Bytes,
            read(|rung| rung.row.memory.peak_bytes.into()),
        ),
    ])
}
