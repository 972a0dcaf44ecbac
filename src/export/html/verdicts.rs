//! The verdicts in words, as they stand in the results, and the rows that did not end well.

use super::super::columns::{Unit, Value};
use super::super::compare::remarks;
use super::super::{human, notes};
use super::labels::Labels;
use super::table::{self, Column};
use super::{Shown, methods};
use crate::report::Row;
use crate::report::compare::Comparison;
use maud::{Markup, html};

/// The section.
pub fn section(results: &[Shown], comparison: Option<&Comparison>) -> Markup {
    html! {
        section #verdict {
            h2 { "Verdict" }
            (methods::ask(&["words"]))
            @if let Some(comparison) = comparison {
                @for against in &comparison.against {
                    @if let Some(words) = remarks::summary(against) { p.verdict { (words) } }
                }
            }
            @for shown in results { (one(shown)) }
        }
    }
}

/// One result's verdict, and what ended otherwise.
fn one(shown: &Shown) -> Markup {
    let report = &shown.report;
    let paragraphs = report
        .verdict
        .as_deref()
        .map(notes::paragraphs)
        .unwrap_or_default();
    let left = report
        .trials
        .iter()
        .filter(|row| row.status == "pending")
        .count();
    let ended = |row: &&Row| !["ok", "pending"].contains(&row.status.as_str());
    let broken: Vec<&Row> = report.trials.iter().filter(ended).collect();
    html! {
        article data-result=(shown.label) {
            (super::page::of(shown))
            @if left > 0 || !report.finished {
                p.alert { "Unfinished: " (left) " of " (report.trials.len()) " trials have not run. What follows is what had been measured when the run stopped." }
            }
            @if paragraphs.is_empty() {
                p.empty { "not measured: the result has no verdict, because no trial of it has ended" }
            }
            @for paragraph in &paragraphs { p.verdict { (paragraph) } }
            @if !broken.is_empty() {
                h3 { "Rows that did not end ok" }
                (failures(&broken, &Labels::of(report)))
            }
        }
    }
}

/// Status and reason of each.
fn failures(rows: &[&Row], labels: &Labels) -> Markup {
    let words =
        |read: &dyn Fn(&Row) -> String| rows.iter().map(|row| read(row)).collect::<Vec<String>>();
    let budgets: Vec<u64> = rows.iter().map(|row| row.memory.budget_bytes).collect();
    let phases: Vec<Value> = rows
        .iter()
        .map(|row| row.failed_phase.clone().into())
        .collect();
    let columns = [
        Column::words("row", "model", words(&|row| labels.work(row))),
        Column::sizes("budget_bytes", "budget", &budgets),
        Column::words(
            "status",
            "status",
            words(&|row| row.status.replace('_', " ")),
        ),
        Column::of(
            "failed_phase",
            "in phase",
            Unit::Plain,
            &phases,
            "",
            |place| match rows[place].status.as_str() {
                "does_not_fit" => "the trial was not started".to_owned(),
                _ => "this file does not tell it".to_owned(),
            },
        ),
        Column::words(
            "reason",
            "reason",
            words(&|row| human::one_line(row.reason.as_deref().unwrap_or("no reason was told"))),
        ),
    ];
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    table::bare("failures", "Rows that did not end ok", &columns, &ids)
}
