//! One self-contained page of one or several results: charts, tables, verdicts and how each figure is obtained. Results in, text out;
//! nothing is fetched when it is looked at. Everything that comes from a result is escaped by the templates (`maud`).

mod axis;
mod bars;
mod budgets;
mod ceilings;
mod compared;
mod facts;
mod labels;
mod latency;
mod limits;
mod lines;
mod memory;
mod methods;
mod offload;
mod page;
mod placing;
mod positions;
mod published;
mod ratios;
mod repeat;
mod routers;
mod scatter;
mod study;
mod table;
#[cfg(test)]
mod tests;
mod trials;
mod verdicts;

use crate::report::Report;
use crate::report::compare::Comparison;

/// Most rows that a chart draws; the tables have them all.
const MOST_ROWS: usize = 40;

/// A result on the page.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// What it is called there: A, B, C.
    pub label: String,
    /// The file it was read from, as given.
    pub file: String,
    /// The result.
    pub report: Report,
}

/// The page of these results with a final newline. With several files comes their comparison.
pub fn render(results: &[Shown], comparison: Option<&Comparison>) -> String {
    page::page(results, comparison).into_string() + "\n"
}
