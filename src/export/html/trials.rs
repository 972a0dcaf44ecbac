//! Every trial of every result, in the columns of the terminal table.

use super::super::columns::{COLUMNS, Column as Known, Place, Unit, Value};
use super::super::{curve, fp32, human, ladder, notes, table as text, tuning};
use super::labels::{Labels, paths, reason};
use super::table::{self, Column};
use super::{Shown, methods};
use maud::{Markup, html};

/// The section.
pub fn section(results: &[Shown]) -> Markup {
    html! {
        section #trials {
            h2 { "All trials" }
            p.lead { "A click on a header sorts, a second one turns the order round; ? says how the figure is obtained." }
            (methods::ask(&["trial"]))
            @for shown in results { (one(shown)) }
        }
    }
}

/// The tables and remarks of one result.
fn one(shown: &Shown) -> Markup {
    let report = &shown.report;
    let tunings = tuning::lines(report);
    html! {
        article data-result=(shown.label) {
            (super::page::of(shown))
            @if report.trials.is_empty() {
                p.empty { "not measured: the result has no trial" }
            } @else {
                (every(shown))
            }
            @if let Some(columns) = curve::undrawn(report) { h3 { (curve::TITLE) } (prepared("curve", curve::TITLE, columns)) }
            @if let Some(columns) = ladder::columns(report) { h3 { (ladder::TITLE) } (prepared("ladder", ladder::TITLE, columns)) }
            @if !tunings.is_empty() {
                details { summary { (tuning::TITLE) } ul { @for line in &tunings { li { (line) } } } }
            }
            @for remark in notes::figures(&report.trials) { p.note { (remark) } }
        }
    }
}

/// All trials.
fn every(shown: &Shown) -> Markup {
    let rows = &shown.report.trials;
    let currency = notes::currency(rows);
    let labels = Labels::of(&shown.report);
    let wanted = |column: &&Known| match column.place {
        Place::Data => column.key == "itl_ms_p99",
        Place::Quantized(_) => rows.iter().any(fp32::is_quantized),
        _ => !notes::is_common(column, rows),
    };
    let one = |column: &Known| {
        let values: Vec<Value> = rows.iter().map(column.get).collect();
        let title = if column.title.is_empty() {
            "ITL p99"
        } else {
            column.title
        };
        let unit = if column.title.is_empty() {
            Unit::Millis
        } else {
            column.unit
        };
        Column::of(column.key, title, unit, &values, currency, |place| {
            reason(&rows[place], paths(column.key))
        })
    };
    let mut columns: Vec<Column> = COLUMNS.iter().filter(wanted).map(one).collect();
    if labels.several_budgets() {
        let budgets: Vec<u64> = rows.iter().map(|row| row.memory.budget_bytes).collect();
        columns.insert(1, Column::sizes("budget_bytes", "budget", &budgets));
    }
    // First what a row came to: on a narrow page the last columns are out of sight.
    if let Some(place) = columns.iter().position(|column| column.key == "status") {
        let status = columns.remove(place);
        columns.insert(1, status);
    }
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    table::table("trials", "All trials", &columns, &ids)
}

/// A table whose texts are made elsewhere.
fn prepared(name: &str, caption: &str, columns: Vec<text::Prepared<'_>>) -> Markup {
    let rows = columns.first().map_or(0, |column| column.cells.texts.len());
    let one = |column: text::Prepared<'_>| {
        let mut laid = Column::words("", column.title, column.cells.texts);
        (laid.unit, laid.numeric) = (column.cells.unit, column.cells.numeric);
        for cell in &mut laid.cells {
            if cell.text == human::MISSING {
                cell.missing = Some("the table of all trials says why".to_owned());
            }
        }
        laid
    };
    let columns: Vec<Column> = columns.into_iter().map(one).collect();
    let ids: Vec<String> = (0..rows).map(|place| place.to_string()).collect();
    table::bare(name, caption, &columns, &ids)
}
