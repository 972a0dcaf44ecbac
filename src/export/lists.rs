//! Lists that are no results: the built-in models, the cache. Text in, no files, no printing.

use super::human;
use crate::error::{Error, Result};
use crate::model::{self, Entry, ModelSpec};
use crate::trial::{Float, KvCache, Precision};
use crate::units::Bytes;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Columns that running text is wrapped to.
pub(super) const WIDTH: usize = 100;

/// The built-in models with their counts.
pub fn models(specs: &[ModelSpec], as_json: bool) -> Result<String> {
    if as_json {
        return pretty(&Value::Array(specs.iter().map(model_json).collect()));
    }
    let titles = [
        "model",
        "total",
        "active",
        "active-read",
        "fp32",
        "fp16",
        "int8",
        "int4",
        "KV/token fp16",
        "positions",
        "suites",
    ];
    let rows = specs.iter().map(|spec| {
        let census = model::census(spec);
        let size = |precision| human::bytes(weight_bytes(spec, precision).0);
        vec![
            spec.name.clone(),
            grouped(census.total),
            grouped(census.active),
            grouped(census.active_read),
            size(Precision::Fp32),
            size(Precision::Fp16),
            size(Precision::Int8),
            size(Precision::Int4),
            kib(model::kv_bytes_per_token(spec, KvCache::Float, Float::Fp16)),
            grouped(u64::from(spec.max_positions)),
            spec.suites.join(","),
        ]
    });
    let mut text = table(&titles, rows, 1..10);
    let legend = "total: every stored parameter. active: those that take part for one token. active-read: those that decoding one token reads (lookup tables are left out). int8, int4: with a scale for each 32 weights. Sizes are binary: 1 GiB = 1,073,741,824 bytes.";
    text.push_str(&format!("\n{}\n\n", human::wrap(legend, WIDTH, 0)));
    for spec in specs {
        let mut note = format!("{}: {}. {}.", spec.name, spec.summary, spec.source);
        let unused = model::census(spec).unused;
        if unused > 0 {
            note.push_str(&format!(
                " {unused} of its parameters are stored and never used."
            ));
        }
        text.push_str(&human::wrap(&note, WIDTH, 2));
        text.push('\n');
    }
    Ok(text)
}

fn model_json(spec: &ModelSpec) -> Value {
    let census = model::census(spec);
    json!({
        "model": spec.name,
        "summary": spec.summary,
        "source": spec.source,
        "suites": spec.suites,
        "params": { "total": census.total, "active": census.active, "active_read": census.active_read, "unused": census.unused },
        "weight_bytes": Precision::ALL
            .map(|precision| (precision.to_string(), json!(weight_bytes(spec, precision))))
            .into_iter()
            .collect::<Map<String, Value>>(),
        "kv_bytes_per_token": {
            "fp32": model::kv_bytes_per_token(spec, KvCache::Float, Float::Fp32),
            "fp16": model::kv_bytes_per_token(spec, KvCache::Float, Float::Fp16),
            "int8": model::kv_bytes_per_token(spec, KvCache::Int8, Float::Fp16),
        },
        "max_positions": spec.max_positions,
        "vocab": spec.vocab,
    })
}

/// Bytes of the weights, as they are for a GPU: quantised ones have scales in fp16.
fn weight_bytes(spec: &ModelSpec, precision: Precision) -> Bytes {
    model::weight_bytes(spec, precision.with(Float::Fp16))
}

/// What the cache holds.
pub fn cache(root: &Path, entries: &[Entry], as_json: bool) -> Result<String> {
    let total: Bytes = entries.iter().map(|entry| entry.bytes).sum();
    if as_json {
        return pretty(
            &json!({ "folder": root, "total_bytes": total, "entries": entries.iter().map(entry_json).collect::<Vec<_>>() }),
        );
    }
    if entries.is_empty() {
        return Ok(format!("{}: empty\n", root.display()));
    }
    let when = |entry: &Entry| humantime::format_rfc3339_seconds(entry.last_used).to_string();
    let rows = entries
        .iter()
        .map(|entry| vec![entry.name.clone(), human::bytes(entry.bytes.0), when(entry)]);
    Ok(format!(
        "{}{}: {} in all\n",
        table(&["entry", "size", "last used"], rows, 1..2),
        root.display(),
        human::bytes(total.0)
    ))
}

/// What was removed from the cache, and what a run is still using.
pub fn cleared(removed: &[Entry], in_use: &[Entry], as_json: bool) -> Result<String> {
    if as_json {
        let list = |entries: &[Entry]| entries.iter().map(entry_json).collect::<Vec<_>>();
        return pretty(&json!({ "removed": list(removed), "in_use": list(in_use) }));
    }
    let bytes: Bytes = removed.iter().map(|entry| entry.bytes).sum();
    let mut text = format!(
        "removed {} of {} entries, {}\n",
        removed.len(),
        removed.len() + in_use.len(),
        human::bytes(bytes.0)
    );
    for entry in in_use {
        text.push_str(&format!("kept {}, which a run is using\n", entry.name));
    }
    Ok(text)
}

fn entry_json(entry: &Entry) -> Value {
    let when = humantime::format_rfc3339_seconds(entry.last_used).to_string();
    json!({ "name": entry.name, "bytes": entry.bytes, "last_used_utc": when })
}

/// JSON for people.
pub(super) fn pretty(value: &Value) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Error::Bug(error.to_string()))
}

/// Aligned text with a title line; `numbers` are the columns set flush right.
pub(super) fn table(
    titles: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
    numbers: std::ops::Range<usize>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(titles.to_vec());
    rows.for_each(|row| {
        table.add_row(row);
    });
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text = table.to_string();
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
        + "\n"
}

/// Kibibytes, exact: what one token adds is a multiple of 64 bytes.
pub(super) fn kib(bytes: Bytes) -> String {
    format!("{} KiB", bytes.as_f64() / 1024.0)
}

/// Digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_from_the_right() {
        assert_eq!(
            ["0", "999", "1,000", "124,439,808"],
            [0, 999, 1000, 124_439_808]
                .map(grouped)
                .each_ref()
                .map(String::as_str)
        );
    }

    #[test]
    fn every_model_is_listed_with_its_exact_count() {
        let text = models(model::builtin(), false).unwrap();
        assert!(text.contains("16,069,382"), "{text}");
        assert!(
            text.replace("\n  ", " ")
                .contains("771 of its parameters are stored and never used"),
            "{text}"
        );
        assert!(text.lines().next().unwrap().starts_with("model"));
        let json: Value = serde_json::from_str(&models(model::builtin(), true).unwrap()).unwrap();
        assert_eq!(json.as_array().unwrap().len(), model::builtin().len());
    }
}
