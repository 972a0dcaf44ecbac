//! How latency grows with the text: for each model the inter-token latency over the length of the context that a step reads.

use super::super::columns::{Unit, Value};
use super::super::human;
use super::axis::Axis;
use super::labels::{Labels, reason};
use super::lines::{self, COLOURS, Dot, Frame, Line, Size};
use super::table::{self, Column};
use super::{MOST_ROWS, Shown, methods};
use crate::report::{ItlAtPosition, Row};
use maud::{Markup, html};

const SIZE: Size = Size {
    class: "both",
    width: 350.0,
    height: 215.0,
    ticks: 4,
};

/// The section.
pub fn section(results: &[Shown]) -> Markup {
    html! {
        section #positions {
            h2 { "Inter-token latency over position" }
            p.lead { "The median time of a token against the length of the text before it; the band holds the middle half of the times. Each model has a scale of its own." }
            (methods::ask(&["positions"]))
            div.side { @for shown in results { (one(shown)) } }
        }
    }
}

/// The charts and the table of one result.
fn one(shown: &Shown) -> Markup {
    let labels = Labels::of(&shown.report);
    let trials = &shown.report.trials;
    let known: Vec<&Row> = trials
        .iter()
        .filter(|row| !row.itl_by_position.is_empty())
        .collect();
    let drawn = &known[..known.len().min(MOST_ROWS)];
    let mut models: Vec<&str> = drawn.iter().map(|row| row.model.as_str()).collect();
    let mut seen = std::collections::BTreeSet::new();
    models.retain(|model| seen.insert(*model));
    let without: Vec<&Row> = trials
        .iter()
        .filter(|row| row.status == "ok" && row.itl_by_position.is_empty())
        .collect();
    html! {
        article data-result=(shown.label) {
            (super::page::of(shown))
            @if known.is_empty() {
                p.empty { "not measured: " (trials.iter().find(|row| row.status == "ok").or(trials.first()).map_or_else(|| "the result has no trial".to_owned(), why)) }
            } @else {
                div.cards {
                    @for model in &models {
                        @let rows: Vec<&Row> = drawn.iter().copied().filter(|row| row.model == *model).collect();
                        @for (nth, some) in rows.chunks(COLOURS).enumerate() { (card(model, some, &labels, nth)) }
                    }
                }
                @if known.len() > drawn.len() { p.note { "The first " (drawn.len()) " of " (known.len()) " rows are drawn." } }
                @for row in without.iter().take(4) { p.note { (labels.full(row)) ": not measured: " (why(row)) } }
                details.data { summary { "Figures" } (figures(drawn, &labels)) }
            }
        }
    }
}

/// Why a row has no latencies over the position.
fn why(row: &Row) -> String {
    match (&row.itl_ms, row.not_measured.contains_key("itl_ms")) {
        (Some(_), _) => {
            "the result has only the quantiles of all steps; it was made before latencies were kept by position".to_owned()
        }
        (None, _) => reason(row, &["itl_ms"]),
    }
}

/// The lines of one model.
fn card(model: &str, rows: &[&Row], labels: &Labels, nth: usize) -> Markup {
    let all = || rows.iter().flat_map(|row| &row.itl_by_position);
    let middle =
        |one: &ItlAtPosition| (f64::from(one.first_context) + f64::from(one.last_context)) / 2.0;
    let dot = |row: &Row, one: &ItlAtPosition| Dot {
        x: middle(one),
        y: one.median_ms,
        band: Some([one.p25_ms, one.p75_ms]),
        title: format!(
            "{}: {} ms at a context of {} to {} tokens (middle half {} to {} ms, {} tokens)",
            labels.full(row),
            human::short(one.median_ms),
            one.first_context,
            one.last_context,
            human::short(one.p25_ms),
            human::short(one.p75_ms),
            one.tokens
        ),
        row: row.id.clone(),
    };
    let lines: Vec<Line> = rows
        .iter()
        .enumerate()
        .map(|(place, row)| Line {
            name: labels.full(row),
            colour: place,
            dashed: false,
            dots: row
                .itl_by_position
                .iter()
                .map(|one| dot(row, one))
                .collect(),
        })
        .collect();
    let frame = Frame {
        across: Axis::between(all().map(middle)),
        up: Axis::linear(all().map(|one| one.p75_ms)),
        across_title: "context, tokens".to_owned(),
        up_title: "ITL, ms".to_owned(),
        unit: 1.0,
        key: "itl_by_position_median_ms",
    };
    let label = format!(
        "Inter-token latency of {} over the position",
        human::one_line(model)
    );
    html! {
        div {
            h4 { (human::one_line(model)) @if nth > 0 { ", continued" } }
            figure.lines data-chart="positions" { (frame.drawing(&label, &lines, &SIZE)) }
            @if lines.len() > 1 || lines.iter().any(|line| line.name != model) { (lines::legend(&lines)) }
        }
    }
}

/// Every bucket as a table.
fn figures(rows: &[&Row], labels: &Labels) -> Markup {
    let all: Vec<(&Row, &ItlAtPosition)> = rows
        .iter()
        .flat_map(|row| row.itl_by_position.iter().map(move |one| (*row, one)))
        .collect();
    let column = |key, title, unit, read: fn(&ItlAtPosition) -> Value| {
        let values: Vec<Value> = all.iter().map(|(_, one)| read(one)).collect();
        Column::of(key, title, unit, &values, "", |_| String::new())
    };
    let columns = [
        Column::words(
            "row",
            "model",
            all.iter().map(|(row, _)| labels.full(row)).collect(),
        ),
        column("first_context", "context from", Unit::Plain, |one| {
            u64::from(one.first_context).into()
        }),
        column("last_context", "to", Unit::Plain, |one| {
            u64::from(one.last_context).into()
        }),
        column("position_tokens", "tokens", Unit::Plain, |one| {
            one.tokens.into()
        }),
        column("position_p25_ms", "first quartile", Unit::Millis, |one| {
            one.p25_ms.into()
        }),
        column("position_median_ms", "median", Unit::Millis, |one| {
            one.median_ms.into()
        }),
        column("position_p75_ms", "third quartile", Unit::Millis, |one| {
            one.p75_ms.into()
        }),
    ];
    let ids: Vec<String> = all
        .iter()
        .map(|(row, one)| format!("{}:{}", row.id, one.first_context))
        .collect();
    table::table(
        "positions",
        "Inter-token latency over position",
        &columns,
        &ids,
    )
}
