//! What the memory of each row is made of, for people: a table below the rows and the remarks that say how to read it. In one
//! unit with equal digits, because its columns are terms of a sum.

use super::columns::{COLUMNS, Place, Value};
use super::human::{self, Cells, Detail};
use super::notes;
use super::table::Prepared;
use crate::report::{MemoryRow, Report, Row, budgets, is_same_work};

/// A difference of two peaks that a table in MiB can show.
const SHOWN: u64 = 1 << 20;

/// What stands over it.
pub fn title(report: &Report) -> &'static str {
    match budgets(&report.trials).len() {
        0 | 1 => "Memory",
        _ => "Memory, of each model in the smallest budget that it ran in",
    }
}

/// The columns; none where no row has a reading.
pub fn columns(report: &Report) -> Vec<Prepared<'static>> {
    let rows = shown(&report.trials);
    if rows.is_empty() {
        return Vec::new();
    }
    let mut columns = names(&rows, report);
    columns.extend(amounts(&rows));
    let words = |importance, title, unit: &str, numeric, get: &dyn Fn(&Row) -> Option<String>| {
        let text = |row: &&Row| get(row).unwrap_or_else(|| human::MISSING.to_owned());
        Prepared {
            importance,
            title,
            cells: Cells {
                unit: unit.to_owned(),
                texts: rows.iter().map(text).collect(),
                numeric,
            },
        }
    };
    columns.push(words(8, "predicted", "% off", true, &|row| {
        error(row).map(human::off)
    }));
    columns.push(words(6, "held", "", false, &|row| {
        row.memory.enforced.clone()
    }));
    // Never left out by the width are model and peak; by their emptiness are all but the model.
    columns.retain(|column| column.cells.texts.iter().any(|text| text != human::MISSING));
    columns
}

/// Rows with readings. With several budgets each work once, where its memory is tightest: the same model takes the same memory
/// in a larger budget, so more lines would say no more.
pub(super) fn shown(rows: &[Row]) -> Vec<&Row> {
    let read: Vec<&Row> = rows
        .iter()
        .filter(|row| row.memory.peak_bytes.is_some())
        .collect();
    let is_shown = |row: &&&Row| {
        let alike = read.iter().filter(|other| is_same_work(row, other));
        // One that ran before one that broke off; then the smaller budget.
        let rank = |row: &&&Row| (row.status != "ok", row.memory.budget_bytes);
        let first = alike.min_by_key(rank);
        first.is_some_and(|first| std::ptr::eq(**row, *first))
    };
    match budgets(rows).len() {
        0 | 1 => read,
        _ => read.iter().filter(is_shown).copied().collect(),
    }
}

/// What a row is called: its model, and each setting that the rows of the report do not share.
pub(super) fn names(rows: &[&Row], report: &Report) -> Vec<Prepared<'static>> {
    let told = |key: &str, place: Place| key == "model" || matches!(place, Place::Setting(_));
    let several = budgets(&report.trials).len() > 1;
    let named = COLUMNS
        .iter()
        .filter(|column| told(column.key, column.place))
        .filter(|column| !notes::is_common(column, &report.trials));
    let mut columns: Vec<Prepared<'static>> = named
        .map(|column| {
            let values: Vec<Value> = rows.iter().map(|row| (column.get)(row)).collect();
            Prepared {
                importance: u8::from(column.key != "model"),
                title: column.title,
                cells: human::cells(column.unit, &values, Detail::Mean, ""),
            }
        })
        .collect();
    if several {
        let size = |row: &&Row| human::bytes(row.memory.budget_bytes);
        columns.push(Prepared {
            importance: 1,
            title: "budget",
            cells: Cells {
                unit: String::new(),
                texts: rows.iter().map(size).collect(),
                numeric: true,
            },
        });
    }
    columns
}

/// The terms of the sum, the sum, and what else was read.
fn amounts(rows: &[&Row]) -> Vec<Prepared<'static>> {
    type Read = fn(&MemoryRow) -> Value;
    let mut parts: Vec<(u8, &'static str, Read)> = vec![
        (2, "weights", |m| m.weights_bytes.into()),
        (3, "KV", |m| m.kv_bytes.into()),
        (4, "activ.", |m| m.activations_bytes.into()),
        (4, "runtime", |m| m.runtime_bytes.into()),
        (5, "unacc.", |m| m.unaccounted_bytes.into()),
        (0, "= peak", |m| sum(m).into()),
        (7, "steady", |m| m.steady_bytes.into()),
    ];
    if rows.iter().any(|row| phases_differ(&row.memory)) {
        parts.push((9, "in prefill", |m| m.prefill_peak_bytes.into()));
        parts.push((9, "in decode", |m| m.decode_peak_bytes.into()));
    }
    parts.push((10, "arena", |m| m.arena_reserved_bytes.into()));
    parts.push((11, "arena live", |m| m.arena_live_peak_bytes.into()));
    let values: Vec<Vec<Value>> = parts
        .iter()
        .map(|(_, _, read)| rows.iter().map(|row| read(&row.memory)).collect())
        .collect();
    let cells = human::mebibytes(&values);
    let prepared = |((importance, title, _), cells)| Prepared {
        importance,
        title,
        cells,
    };
    parts.into_iter().zip(cells).map(prepared).collect()
}

/// What the parts add up to.
fn sum(memory: &MemoryRow) -> Option<u64> {
    memory.loaded_peak_bytes.or(memory.peak_bytes)
}

fn phases_differ(memory: &MemoryRow) -> bool {
    let both = memory.prefill_peak_bytes.zip(memory.decode_peak_bytes);
    both.is_some_and(|(prefill, decode)| prefill.abs_diff(decode) >= SHOWN)
}

/// How far the prediction was off the measured peak, as a share of that; of rows that ran to the end.
fn error(row: &Row) -> Option<f64> {
    let (predicted, peak) = row.memory.predicted_peak_bytes.zip(sum(&row.memory))?;
    (row.status == "ok" && peak > 0).then(|| predicted as f64 / peak as f64 - 1.0)
}

/// How to read the table.
pub fn remarks(report: &Report) -> Vec<String> {
    let rows = shown(&report.trials);
    let mut remarks = Vec::new();
    let known: Vec<&&Row> = rows
        .iter()
        .filter(|row| row.memory.unaccounted_bytes.is_some())
        .collect();
    if !known.is_empty() {
        let read_apart = known
            .iter()
            .all(|row| row.memory.runtime_context_bytes.is_some());
        remarks.push(
            if read_apart {
                "Memory: weights + KV cache + activations and workspace + runtime (CUDA context, kernels, libraries) + unaccounted = peak."
            } else {
                "Memory: weights + KV cache + activations + runtime + unaccounted = peak; weights and KV cache are sizes of buffers, of which not all need be resident."
            }
            .to_owned(),
        );
    }
    remarks.extend(momentary(&rows));
    remarks.extend(soft(&rows));
    remarks
}

/// Rows that took more before the load than after it: the sum in the table is not what the budget was held against.
fn momentary(rows: &[&Row]) -> Option<String> {
    let one = |row: &&Row| {
        let (peak, loaded) = row.memory.peak_bytes.zip(row.memory.loaded_peak_bytes)?;
        let name = notes::name(row);
        (peak > loaded).then(|| format!("{name} {}", human::bytes(peak)))
    };
    let list: Vec<String> = rows.iter().filter_map(one).collect();
    let when = match rows.iter().any(|row| row.device == "cpu") {
        true => "before the model was loaded",
        false => "while the CUDA context was made",
    };
    (!list.is_empty()).then(|| {
        human::one_line(&format!(
            "Larger for a moment {when}, which counts against the budget: {}.",
            list.join(", ")
        ))
    })
}

/// Why the budget was held softly, each way once with the rows that it is true for.
fn soft(rows: &[&Row]) -> Vec<String> {
    let mut ways: Vec<(&str, Vec<String>)> = Vec::new();
    let softly = rows
        .iter()
        .filter(|row| row.memory.enforced.as_deref() == Some("soft"));
    for row in softly {
        let Some(how) = row.memory.enforced_how.as_deref() else {
            continue;
        };
        match ways.iter_mut().find(|(known, _)| *known == how) {
            Some((_, names)) => names.push(notes::name(row)),
            None => ways.push((how, vec![notes::name(row)])),
        }
    }
    let say = |(how, names): (&str, Vec<String>)| {
        let whose = match names.len() {
            count if count == rows.len() => String::new(),
            _ => format!(" for {}", names.join(", ")),
        };
        human::one_line(&format!("The budget was held softly{whose}: {how}."))
    };
    ways.into_iter().map(say).collect()
}

#[cfg(test)]
mod tests;
