//! Door of the export room: a report in, text out, and the way onto the disk. No exporter prints or opens a file itself.

pub mod baselines;
mod ceilings;
mod columns;
pub mod compare;
mod csv;
mod curve;
pub mod doctor;
mod files;
mod fp32;
pub mod html;
mod human;
pub mod inspect;
mod json;
mod jsonl;
mod ladder;
mod limits;
pub mod lists;
mod markdown;
mod memory;
mod notes;
mod offload;
pub mod packed;
mod plan;
mod published;
mod repeat;
mod reuse;
mod routers;
mod study;
mod table;
mod tuning;

pub use ceilings::summary as ceiling_summary;
pub use files::{ensure_writable, write_atomically};
pub use jsonl::{
    ceiling_line as json_ceiling_line, closing_lines as json_closing_lines, line as json_line,
};
pub use offload::summary as offload_summary;
pub use plan::plan;
pub use study::csv as study_csv;
pub use tuning::{tuning_summary, untuned_summary};

use crate::error::{Error, Result};
use crate::report::{Report, Row};
use std::fmt;
use std::str::FromStr;

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Aligned text with a verdict, for people.
    Table,
    /// Everything, indented: the format that is read back.
    Json,
    /// One row on each line, then one ceiling on each, then the study and the spread of runs, all with their schema version.
    Jsonl,
    /// One row on each line, one figure in each cell, base units.
    Csv,
    /// A table for a document.
    Markdown,
}

impl Format {
    /// Every format, in the order of the help text.
    pub const ALL: [Format; 5] = [
        Format::Table,
        Format::Json,
        Format::Jsonl,
        Format::Csv,
        Format::Markdown,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Json => "json",
            Format::Jsonl => "jsonl",
            Format::Csv => "csv",
            Format::Markdown => "markdown",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Format> {
        let known = Format::ALL.into_iter().find(|format| format.name() == name);
        known.ok_or_else(|| {
            let names = Format::ALL.map(Format::name).join(", ");
            Error::Usage(format!(
                "there is no output format {name:?}; choose one of {names}"
            ))
        })
    }
}

/// The report as text with a final newline. `width` is that of the terminal (80 where there is none) and counts for the
/// table only, as does `colour`. Fails only on a bug: a figure that is no number.
pub fn render(
    report: &Report,
    format: Format,
    width: Option<usize>,
    colour: bool,
) -> Result<String> {
    match format {
        Format::Table => Ok(table::render(report, width.unwrap_or(80), colour)),
        Format::Json => json::render(report),
        Format::Jsonl => jsonl::render(report),
        Format::Csv => csv::render(report),
        Format::Markdown => Ok(markdown::render(report)),
    }
}

/// Columns of the terminal on standard output; `None` where it is none.
pub fn terminal_width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(usize::from(width.0))
}

/// A finished trial in a few words, for the progress lines.
pub fn summary(row: &Row) -> String {
    if let (Some(latency), Some(items), Some(peak)) =
        (&row.latency_ms, &row.items_s, row.memory.peak_bytes)
        && row.status == "ok"
    {
        return format!(
            "{} ms, {} items/s, peak {}",
            human::plain(latency.mean),
            human::plain(items.mean),
            human::bytes(peak)
        );
    }
    match (&row.decode_tok_s, row.memory.peak_bytes) {
        (Some(speed), Some(peak)) if row.status == "ok" => {
            format!(
                "{} tok/s, peak {}",
                human::plain(speed.mean),
                human::bytes(peak)
            )
        }
        _ => row.reason.as_ref().map_or_else(
            || row.status.clone(),
            |reason| format!("{}: {}", row.status, human::one_line(reason)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, several_budgets};

    #[test]
    fn a_format_is_known_by_its_name() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
        }
        let error = "html".parse::<Format>().unwrap_err().to_string();
        assert!(error.contains("choose one of table, json"), "{error}");
    }

    #[test]
    fn every_format_ends_with_one_newline() {
        for format in Format::ALL {
            let text = render(&fixture(), format, None, false).unwrap();
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{format}");
        }
    }

    #[test]
    fn table_at_80_columns() {
        insta::assert_snapshot!(render(&fixture(), Format::Table, None, false).unwrap());
    }

    #[test]
    fn table_at_160_columns() {
        insta::assert_snapshot!(render(&fixture(), Format::Table, Some(160), false).unwrap());
    }

    #[test]
    fn several_budgets_are_a_table_each_and_a_curve() {
        let report = several_budgets();
        insta::assert_snapshot!(render(&report, Format::Table, Some(120), false).unwrap());
    }

    #[test]
    fn several_budgets_in_markdown() {
        let report = several_budgets();
        insta::assert_snapshot!(render(&report, Format::Markdown, None, false).unwrap());
    }

    #[test]
    fn no_line_of_several_budgets_is_wider_than_the_terminal() {
        for width in [60, 80, 100] {
            let text = render(&several_budgets(), Format::Table, Some(width), false).unwrap();
            assert!(
                text.lines().all(|line| line.chars().count() <= width),
                "{text}"
            );
            assert!(text.contains("Budget 600 MiB\n") && text.contains("What each budget buys\n"));
        }
    }

    #[test]
    fn json() {
        insta::assert_snapshot!(render(&fixture(), Format::Json, None, false).unwrap());
    }

    #[test]
    fn jsonl() {
        insta::assert_snapshot!(render(&fixture(), Format::Jsonl, None, false).unwrap());
    }

    #[test]
    fn csv() {
        insta::assert_snapshot!(render(&fixture(), Format::Csv, None, false).unwrap());
    }

    #[test]
    fn markdown() {
        insta::assert_snapshot!(render(&fixture(), Format::Markdown, None, false).unwrap());
    }
}
