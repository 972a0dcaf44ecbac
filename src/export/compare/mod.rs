//! Door of the exporters of a comparison: a comparison in, text out.

mod ceilings;
mod csv;
mod markdown;
mod remarks;
pub(super) mod sheet;
mod table;

use crate::error::Result;
use crate::report::compare::{Comparison, comparison_to_json};

/// How a comparison is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComparisonFormat {
    /// Aligned text, for people.
    Table,
    /// Everything, indented.
    Json,
    /// One quantity of one pair of rows on each line, base units.
    Csv,
    /// Tables for a document.
    Markdown,
}

/// The comparison as text with a final newline. `width` is that of the terminal (80 where there is none) and counts for
/// the table only, as does `colour`.
pub fn render(
    comparison: &Comparison,
    format: ComparisonFormat,
    width: Option<usize>,
    colour: bool,
) -> Result<String> {
    match format {
        ComparisonFormat::Table => Ok(table::render(comparison, width.unwrap_or(80), colour)),
        ComparisonFormat::Json => comparison_to_json(comparison),
        ComparisonFormat::Csv => csv::render(comparison),
        ComparisonFormat::Markdown => Ok(markdown::render(comparison)),
    }
}

#[cfg(test)]
mod tests;
