//! How even the tokens come: for each row the spread of its inter-token latencies.

use super::super::columns::{Unit, Value};
use super::super::{human, memory};
use super::axis::{self, Axis};
use super::bars::{Bar, Frame, HEIGHT, TICKS};
use super::labels::{Labels, paths, reason};
use super::table::{self, Column, number_text};
use super::{MOST_ROWS, Shown, methods};
use crate::report::{Quantiles, Row};
use maud::{Markup, html};

/// The section.
pub fn section(results: &[Shown]) -> Markup {
    let rows = results.iter().flat_map(|shown| measured(shown));
    let ends = rows
        .filter_map(quantiles)
        .flat_map(|found| [found.min, found.max]);
    let axis = Axis::spread(&ends.collect::<Vec<f64>>());
    html! {
        section #latency {
            h2 { "Inter-token latency" }
            p.lead { "How long each token took: the line from the fastest step to the slowest, the bar from the median (p50) to p90, a tick at p99." }
            (methods::ask(&["itl"]))
            div.side { @for shown in results { (one(shown, axis)) } }
            @if axis.is_log() { p.note { "The scale is logarithmic." } }
        }
    }
}

fn quantiles(row: &Row) -> Option<&Quantiles> {
    row.itl_ms.as_ref()?.quantiles.as_ref()
}

/// Rows with latencies, each work once.
fn measured(shown: &Shown) -> Vec<&Row> {
    let rows = memory::shown(&shown.report.trials).into_iter();
    let mut rows: Vec<&Row> = rows.filter(|row| quantiles(row).is_some()).collect();
    // A file may tell times and no memory.
    if rows.is_empty() {
        rows = shown
            .report
            .trials
            .iter()
            .filter(|row| quantiles(row).is_some())
            .collect();
    }
    rows
}

/// The spread and the table of one result.
fn one(shown: &Shown, axis: Axis) -> Markup {
    let labels = Labels::of(&shown.report);
    let rows = measured(shown);
    let mut drawn = rows.clone();
    if drawn.len() > MOST_ROWS {
        let median = |row: &Row| quantiles(row).map_or(0.0, |found| found.p50);
        drawn.sort_by(|a, b| median(b).total_cmp(&median(a)));
        drawn.truncate(MOST_ROWS);
    }
    let frame = Frame::new(axis, TICKS, "ms", axis::short);
    let bar = |row: &&Row| {
        let found = quantiles(row)?;
        let p90 = found.p90.map(|p90| format!("p90 {}", human::short(p90)));
        Some(Bar {
            id: row.id.clone(),
            name: labels.work(row),
            drawing: Ok(drawing(found, &frame)),
            figure: format!("{} ms", human::short(found.p50)),
            note: p90.unwrap_or_default(),
        })
    };
    let bars: Vec<Bar> = drawn.iter().filter_map(bar).collect();
    html! {
        article data-result=(shown.label) {
            (super::page::of(shown))
            @if bars.is_empty() {
                p.empty { "not measured: no trial of this result has inter-token latencies" }
            } @else {
                (frame.chart("itl", "Quantiles of the inter-token latency", &bars))
                @if rows.len() > drawn.len() {
                    p.note { "The " (drawn.len()) " slowest of " (rows.len()) " rows are drawn; the table has them all." }
                }
                details.data { summary { "Figures" } (figures(&rows, &labels)) }
            }
        }
    }
}

/// Fastest to slowest, median to p90, p99.
fn drawing(found: &Quantiles, frame: &Frame) -> Markup {
    let middle = HEIGHT / 2;
    let high = found.p90.unwrap_or(found.p50);
    html! {
        line.range x1=(frame.at(found.min)) x2=(frame.at(found.max)) y1=(middle) y2=(middle) {
            title { "from " (human::short(found.min)) " to " (human::short(found.max)) " ms" }
        }
        rect.part.p1 x=(frame.at(found.p50)) width=(frame.span(found.p50, high)) y=(middle - 6) height="12"
            data-key="itl_ms_p90" data-value=[found.p90.map(number_text)] { title { "p50 to p90" } }
        @if let Some(p99) = found.p99 {
            line.tail x1=(frame.at(p99)) x2=(frame.at(p99)) y1=(middle - 6) y2=(middle + 6)
                data-key="itl_ms_p99" data-value=(number_text(p99)) { title { "p99 " (human::short(p99)) " ms" } }
        }
        circle.dot cx=(frame.at(found.p50)) cy=(middle) r="5" data-key="itl_ms_p50" data-value=(number_text(found.p50)) {
            title { "p50 " (human::short(found.p50)) " ms" }
        }
    }
}

/// The quantiles as a table.
fn figures(rows: &[&Row], labels: &Labels) -> Markup {
    type Read = fn(&Quantiles) -> Option<f64>;
    let parts: [(&'static str, &str, Read); 5] = [
        ("itl_ms_min", "fastest", |found| Some(found.min)),
        ("itl_ms_p50", "p50", |found| Some(found.p50)),
        ("itl_ms_p90", "p90", |found| found.p90),
        ("itl_ms_p99", "p99", |found| found.p99),
        ("itl_ms_max", "slowest", |found| Some(found.max)),
    ];
    let mut columns = vec![Column::words(
        "row",
        "model",
        rows.iter().map(|row| labels.full(row)).collect(),
    )];
    for (key, title, read) in parts {
        let values: Vec<Value> = rows
            .iter()
            .map(|row| quantiles(row).and_then(read).into())
            .collect();
        columns.push(Column::of(key, title, Unit::Millis, &values, "", |place| {
            reason(rows[place], paths(key))
        }));
    }
    let steps: Vec<Value> = rows
        .iter()
        .map(|row| row.itl_ms.as_ref().map(|metric| metric.n).into())
        .collect();
    columns.push(Column::of(
        "itl_ms_n",
        "steps",
        Unit::Plain,
        &steps,
        "",
        |place| reason(rows[place], paths("itl_ms_p50")),
    ));
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    table::table("itl", "Inter-token latency of each row", &columns, &ids)
}
