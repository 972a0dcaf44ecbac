//! Ratios of two figures, as they are drawn and listed: a dot with its interval around 1, and a table of both sides.

use super::super::columns::{Unit, Value};
use super::super::compare::sheet;
use super::super::human::{self, Detail};
use super::axis::{self, Axis};
use super::bars::{Bar, Frame, HEIGHT, Mark, TICKS};
use super::table::{Column, number_text};
use crate::report::compare::{Judgement, Verdict};
use maud::html;

/// One quantity of one pair.
pub struct Ratioed<'a> {
    /// Its name in data.
    pub id: String,
    /// What the pair is called.
    pub name: String,
    /// The currency of its costs.
    pub currency: &'a str,
    /// The figures and what follows from them.
    pub found: &'a Judgement,
}

/// A scale around 1 that holds all of these and their intervals.
pub fn frame<'a>(all: impl Iterator<Item = &'a Judgement>) -> Frame {
    let ends = all.flat_map(|found| {
        let ends = found.ci95.into_iter().flatten();
        found.ratio.into_iter().chain(ends)
    });
    let axis = Axis::ratios(ends);
    Frame {
        marks: vec![Mark {
            value: 1.0,
            label: "the same".to_owned(),
        }],
        ..Frame::new(axis, TICKS + 1, "times", axis::short)
    }
}

/// One ratio.
pub fn bar(one: &Ratioed, frame: &Frame) -> Bar {
    let found = one.found;
    let ratio = found.ratio.unwrap_or(1.0);
    let colour = verdict_class(found.verdict);
    let middle = HEIGHT / 2;
    let mut numbers = vec![ratio];
    numbers.extend(found.ci95.into_iter().flatten());
    let shown = human::ratios(&numbers);
    let interval = match shown.get(1..) {
        Some([low, high]) => format!("{low} to {high}"),
        _ => String::new(),
    };
    Bar {
        id: one.id.clone(),
        name: one.name.clone(),
        drawing: Ok(html! {
            @if let Some([low, high]) = found.ci95 {
                line.interval.(colour) x1=(frame.at(low)) x2=(frame.at(high)) y1=(middle) y2=(middle) { title { (interval) } }
            }
            circle.dot.(colour) cx=(frame.at(ratio)) cy=(middle) r="5" data-key="ratio" data-value=(number_text(ratio)) {
                title { (shown[0]) " times" }
            }
        }),
        figure: format!("{} {}", shown[0], found.word.replace('_', " ")),
        note: interval,
    }
}

/// The colour of a verdict.
fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NoDifference => "same",
        Verdict::NotComparable => "unknown",
    }
}

/// Every quantity with both sides, called by their titles.
pub fn columns(lines: &[&Ratioed], baseline: &str, other: &str) -> Vec<Column> {
    let why = |field: &'static str| {
        move |place: usize| {
            let found = lines[place].found;
            let told = found.not_measured.get(field).or(found.reason.as_ref());
            told.map_or_else(
                || "this file does not tell it".to_owned(),
                |reason| human::one_line(reason),
            )
        }
    };
    let texts = |read: &dyn Fn(&Ratioed) -> String| lines.iter().map(|one| read(one)).collect();
    let ratios: Vec<Value> = lines.iter().map(|one| value(one.found.ratio)).collect();
    let title = format!("{other} / {baseline}");
    let mut ratio = Column::of("ratio", &title, Unit::Plain, &ratios, "", why("ratio"));
    // Each ratio has its own digits, as in the table for a terminal.
    for (cell, one) in ratio.cells.iter_mut().zip(lines) {
        if let Some(ratio) = one.found.ratio {
            cell.text = human::ratios(&[ratio]).concat();
        }
    }
    vec![
        Column::words("row", "row", texts(&|one| one.name.clone())),
        Column::words("quantity", "quantity", texts(&quantity)),
        side(
            "baseline",
            baseline,
            lines,
            |found| found.baseline,
            why("baseline"),
        ),
        side("other", other, lines, |found| found.other, why("other")),
        ratio,
        interval(lines, why("ci95")),
        Column::words(
            "verdict",
            "verdict",
            texts(&|one| one.found.word.replace('_', " ")),
        ),
    ]
}

fn value(number: Option<f64>) -> Value {
    number.map_or(Value::Missing, Value::Number)
}

/// A quantity with its unit.
fn quantity(one: &Ratioed) -> String {
    let values = [value(one.found.baseline), value(one.found.other)];
    let metric = one.found.metric;
    let unit = human::cells(sheet::unit(metric), &values, Detail::Mean, one.currency).unit;
    format!("{} {unit}", sheet::title(metric))
}

/// The figures of one side: those of a line in one unit with those of the other side.
fn side(
    key: &'static str,
    title: &str,
    lines: &[&Ratioed],
    read: fn(&Judgement) -> Option<f64>,
    missing: impl Fn(usize) -> String,
) -> Column {
    let values: Vec<Value> = lines.iter().map(|one| value(read(one.found))).collect();
    let mut column = Column::of(key, title, Unit::Plain, &values, "", missing);
    for (cell, one) in column.cells.iter_mut().zip(lines) {
        let found = one.found;
        let both = [
            value(read(found)),
            value(found.baseline),
            value(found.other),
        ];
        let unit = sheet::unit(found.metric);
        let texts = human::cells(unit, &both, Detail::Mean, one.currency).texts;
        cell.text = texts.into_iter().next().unwrap_or_default();
    }
    column
}

/// The intervals; sorted by their lower ends.
fn interval(lines: &[&Ratioed], missing: impl Fn(usize) -> String) -> Column {
    let low = |one: &Ratioed| value(one.found.ci95.map(|ends| ends[0]));
    let lows: Vec<Value> = lines.iter().map(|one| low(one)).collect();
    let mut column = Column::of("interval", "95 % interval", Unit::Plain, &lows, "", missing);
    for (cell, one) in column.cells.iter_mut().zip(lines) {
        if let Some([low, high]) = one.found.ci95 {
            let mut numbers = one.found.ratio.into_iter().collect::<Vec<f64>>();
            numbers.extend([low, high]);
            let texts = human::ratios(&numbers);
            cell.text = texts[texts.len() - 2..].join(" to ");
        }
    }
    column
}
