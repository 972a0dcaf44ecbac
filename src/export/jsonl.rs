//! JSON Lines: one row on each line, so that a stream can be read row by row; after the rows, each ceiling as
//! `{"schema_version": …, "ceiling": {…}}`, a name that no row has, and last, where there are any, `study` and `repeatability`.

use crate::error::Result;
use crate::report::{
    Ceiling, Report, Row, ceiling_to_json_line, closing_to_json_lines, to_json_line,
};

/// One row as one line with its newline; the same line [`render`] gives for it.
pub fn line(row: &Row) -> Result<String> {
    Ok(to_json_line(row)? + "\n")
}

/// One ceiling as one line with its newline; the same line [`render`] gives for it.
pub fn ceiling_line(ceiling: &Ceiling) -> Result<String> {
    Ok(ceiling_to_json_line(ceiling)? + "\n")
}

/// What is known of a report once all of it ran, each on a line; the same lines [`render`] ends with.
pub fn closing_lines(report: &Report) -> Result<String> {
    let lines = closing_to_json_lines(report)?;
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}

/// All rows of a report, then its ceilings, then what is told of them together.
pub fn render(report: &Report) -> Result<String> {
    let rows = report.trials.iter().map(line);
    rows.chain(report.ceilings.iter().map(ceiling_line))
        .chain(std::iter::once(closing_lines(report)))
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
            .take(report.trials.len())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(rows, report.trials);
        assert!(
            text.lines()
                .all(|line| line.starts_with("{\"schema_version\":"))
        );
    }
}
