//! JSON Lines: one row on each line, so that a stream can be read row by row.

use crate::error::Result;
use crate::report::{Report, Row, to_json_line};

/// One row as one line with its newline; the same line [`render`] gives for it.
pub fn line(row: &Row) -> Result<String> {
    Ok(to_json_line(row)? + "\n")
}

/// All rows of a report.
pub fn render(report: &Report) -> Result<String> {
    report.trials.iter().map(line).collect()
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
