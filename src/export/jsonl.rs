//! JSON Lines: one row on each line, so that a stream can be read row by row; after the rows, each ceiling as
//! `{"schema_version": …, "ceiling": {…}}`, a name that no row has.

use crate::error::Result;
use crate::report::{Ceiling, Report, Row, ceiling_to_json_line, to_json_line};

/// One row as one line with its newline; the same line [`render`] gives for it.
pub fn line(row: &Row) -> Result<String> {
    Ok(to_json_line(row)? + "\n")
}

/// One ceiling as one line with its newline; the same line [`render`] gives for it.
pub fn ceiling_line(ceiling: &Ceiling) -> Result<String> {
    Ok(ceiling_to_json_line(ceiling)? + "\n")
}

/// All rows of a report, then its ceilings.
pub fn render(report: &Report) -> Result<String> {
    let rows = report.trials.iter().map(line);
    rows.chain(report.ceilings.iter().map(ceiling_line))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn each_line_is_a_row_with_its_schema_version() {
        let report = fixture();
        let text = render(&report).unwrap();
        let rows: Vec<Row> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(rows, report.trials);
        assert!(
            text.lines()
                .all(|line| line.starts_with("{\"schema_version\":"))
        );
    }
}
