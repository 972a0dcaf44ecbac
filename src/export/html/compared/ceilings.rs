//! The ceilings that two results share, side by side.

use super::super::super::columns::{Unit, Value};
use super::super::super::human;
use super::super::super::lists::grouped;
use super::super::table::{self, Column};
use crate::report::compare::{Against, CeilingPair};
use maud::Markup;

/// The table.
pub fn table(against: &Against, baseline: &str) -> Markup {
    let pairs = &against.ceilings;
    let texts =
        |read: &dyn Fn(&CeilingPair) -> String| pairs.iter().map(read).collect::<Vec<String>>();
    let ratios: Vec<Value> = pairs.iter().map(|pair| pair.ratio.into()).collect();
    let title = format!("{} / {baseline}", against.file);
    let mut ratio = Column::of("ratio", &title, Unit::Plain, &ratios, "", |place| {
        reason(pairs[place].not_measured.get("ratio"))
    });
    for (cell, pair) in ratio.cells.iter_mut().zip(pairs) {
        if let Some(ratio) = pair.ratio {
            cell.text = human::ratio(ratio);
        }
    }
    let columns = [
        Column::words("row", "model", texts(&model)),
        Column::words("kind", "ceiling", texts(&kind)),
        Column::words("budget", "budget", texts(&budgets)),
        sizes("baseline", baseline, pairs, |pair| {
            (pair.baseline.fits, pair.baseline.not_measured.get("fits"))
        }),
        sizes("other", &against.file, pairs, |pair| {
            (pair.other.fits, pair.other.not_measured.get("fits"))
        }),
        ratio,
        Column::words(
            "limited_by",
            "limited by",
            texts(&|pair| limits(pair, baseline, &against.file)),
        ),
    ];
    let ids: Vec<String> = (0..pairs.len()).map(|place| place.to_string()).collect();
    let caption = "Ceilings that both results have";
    table::table("compare-ceilings", caption, &columns, &ids)
}

/// A reason, where one is told.
fn reason(told: Option<&String>) -> String {
    told.map_or_else(
        || "this file does not tell it".to_owned(),
        |reason| human::one_line(reason),
    )
}

/// What fits on one side.
fn sizes(
    key: &'static str,
    title: &str,
    pairs: &[CeilingPair],
    read: fn(&CeilingPair) -> (Option<u32>, Option<&String>),
) -> Column {
    let values: Vec<Value> = pairs.iter().map(|pair| read(pair).0.into()).collect();
    let mut column = Column::of(key, title, Unit::Plain, &values, "", |place| {
        reason(read(&pairs[place]).1)
    });
    for (cell, pair) in column.cells.iter_mut().zip(pairs) {
        if let Some(size) = read(pair).0 {
            cell.text = grouped(size.into());
        }
    }
    column
}

fn model(pair: &CeilingPair) -> String {
    let key = &pair.key;
    format!("{} {} {}", key.model, key.form, key.precision)
}

/// What was searched for, with the lengths of a batch.
fn kind(pair: &CeilingPair) -> String {
    match pair.key.prompt_tokens.zip(pair.key.gen_tokens) {
        Some((prompt, generated)) => format!("{} {prompt}+{generated}", pair.key.kind),
        None => pair.key.kind.clone(),
    }
}

/// The budgets of both; said once where they are the same.
fn budgets(pair: &CeilingPair) -> String {
    let sides = [&pair.baseline, &pair.other];
    let [ours, theirs] = sides.map(|side| human::bytes(side.budget_bytes));
    match ours == theirs {
        true => ours,
        false => format!("{ours}, {theirs}"),
    }
}

/// What keeps the sizes from being larger; said once where it is the same.
fn limits(pair: &CeilingPair, baseline: &str, other: &str) -> String {
    let sides = [&pair.baseline, &pair.other];
    let [ours, theirs] = sides.map(|side| match &side.limited_by {
        Some(limit) => limit.replace('_', " "),
        None => "not told".to_owned(),
    });
    match ours == theirs {
        true => ours,
        false => format!("{baseline} {ours}, {other} {theirs}"),
    }
}
