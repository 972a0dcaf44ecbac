//! What a model is without running it: text and JSON for built-in models and for ONNX files. Sizes that were not measured are
//! called predictions, and what cannot be told is `unknown` with the reason.

mod builtin;
mod decoder;
mod file;
mod file_json;
#[cfg(test)]
mod tests;

pub use builtin::{Builtin, Graph, builtin};
pub use file::{FileSheet, file};

use super::human;
use super::lists::{WIDTH, grouped, table};
use crate::model::{Amount, Part};
use crate::protocol::Told;
use crate::units::Bytes;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A figure or `unknown`, the reason beside it in `not_known`.
struct Sheet {
    value: Map<String, Value>,
    not_known: Map<String, Value>,
}

impl Sheet {
    fn new() -> Sheet {
        Sheet {
            value: Map::new(),
            not_known: Map::new(),
        }
    }

    fn put(&mut self, name: &str, value: Value) {
        self.value.insert(name.to_owned(), value);
    }

    fn told<T>(&mut self, name: &str, told: &Told<T>, show: impl Fn(&T) -> Value) {
        let value = match told {
            Ok(value) => show(value),
            Err(reason) => {
                self.not_known.insert(name.to_owned(), json!(reason));
                Value::Null
            }
        };
        self.put(name, value);
    }

    fn finish(mut self) -> Value {
        if !self.not_known.is_empty() {
            self.put("not_known", Value::Object(self.not_known.clone()));
        }
        Value::Object(self.value)
    }
}

/// `name: text`, wrapped, the names in a column.
fn line(name: &str, text: &str) -> String {
    let wrapped = human::wrap(&format!("{name:<13}{}", human::one_line(text)), WIDTH, 13);
    // Wrapping collapses the column's spaces.
    match wrapped.strip_prefix(name) {
        Some(rest) => format!("{name:<12} {}\n", rest.trim_start()),
        None => wrapped + "\n",
    }
}

/// A number or why there is none.
fn told<T>(told: &Told<T>, show: impl Fn(&T) -> String) -> String {
    match told {
        Ok(value) => show(value),
        Err(reason) => format!("unknown: {reason}"),
    }
}

/// Operators by kind in the order of their names, a column for each graph.
fn operators(graphs: &[(String, &BTreeMap<String, u64>)]) -> String {
    let mut names: Vec<&String> = graphs
        .iter()
        .flat_map(|(_, counts)| counts.keys())
        .collect();
    names.sort();
    names.dedup();
    let titles: Vec<&str> = std::iter::once("operator")
        .chain(graphs.iter().map(|(title, _)| title.as_str()))
        .collect();
    let cell = |counts: &BTreeMap<String, u64>, name: &String| {
        counts
            .get(name)
            .map_or_else(|| human::MISSING.to_owned(), |count| grouped(*count))
    };
    let rows = names.iter().map(|name| {
        let counts = graphs.iter().map(|(_, counts)| cell(counts, name));
        std::iter::once(human::one_line(name))
            .chain(counts)
            .collect()
    });
    table(&titles, rows, 1..1 + graphs.len())
}

/// Parts and types of one graph: tensors, parameters, bytes, and their sum.
fn amounts<'a>(title: &str, amounts: impl Iterator<Item = (String, &'a Amount)>) -> String {
    let (mut rows, mut sum) = (Vec::new(), Amount::default());
    let row = |name: String, amount: &Amount| {
        vec![
            name,
            grouped(amount.tensors),
            grouped(amount.params),
            grouped(amount.bytes.0),
            human::bytes(amount.bytes.0),
        ]
    };
    for (name, amount) in amounts {
        sum.tensors += amount.tensors;
        sum.params = sum.params.saturating_add(amount.params);
        sum.bytes = Bytes(sum.bytes.0.saturating_add(amount.bytes.0));
        rows.push(row(name, amount));
    }
    rows.push(row("sum".into(), &sum));
    table(
        &[title, "tensors", "parameters", "bytes", ""],
        rows.into_iter(),
        1..5,
    )
}

fn amount_json(amount: &Amount) -> Value {
    json!({ "tensors": amount.tensors, "params": amount.params, "bytes": amount.bytes })
}

fn parts_json(parts: &BTreeMap<Part, Amount>) -> Value {
    let entry = |(part, amount): (&Part, &Amount)| (part.name().to_owned(), amount_json(amount));
    Value::Object(parts.iter().map(entry).collect())
}

fn types_json(types: &BTreeMap<String, Amount>) -> Value {
    let entry = |(name, amount): (&String, &Amount)| (name.clone(), amount_json(amount));
    Value::Object(types.iter().map(entry).collect())
}
