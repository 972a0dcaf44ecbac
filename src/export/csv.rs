//! Comma-separated values: every column, base units, an empty cell for what was not measured.

use super::columns::{COLUMNS, Value};
use crate::error::{Error, Result};
use crate::report::Report;

/// The report as CSV with a header of keys.
pub fn render(report: &Report) -> Result<String> {
    write(report).map_err(|cause| Error::Bug(cause.to_string()))
}

/// Writes header and rows.
fn write(report: &Report) -> Result<String, Box<dyn std::error::Error>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS.iter().map(|column| column.key))?;
    for row in &report.trials {
        writer.write_record(COLUMNS.iter().map(|column| cell((column.get)(row))))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// A value in base units and full precision.
fn cell(value: Value) -> String {
    match value {
        Value::Missing => String::new(),
        Value::Text(text) | Value::Name(text) => text,
        Value::Count(count) => count.to_string(),
        Value::Signed(count) => count.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Number(number) | Value::Spread(number, _) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    /// Header and records, read back.
    fn parsed() -> (csv::StringRecord, Vec<csv::StringRecord>) {
        let text = render(&fixture()).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().unwrap().clone();
        (
            header,
            reader.records().map(|record| record.unwrap()).collect(),
        )
    }

    /// Place of a column.
    fn place(header: &csv::StringRecord, key: &str) -> usize {
        header.iter().position(|name| name == key).unwrap()
    }

    #[test]
    fn what_was_not_measured_is_an_empty_cell() {
        let (header, records) = parsed();
        let speed = place(&header, "decode_tok_s_mean");
        assert_eq!((&records[2][speed], &records[3][speed]), ("", ""));
        let report = fixture();
        let mean = report.trials[0].decode_tok_s.as_ref().unwrap().mean;
        assert_eq!(records[0][speed].parse::<f64>().unwrap(), mean);
    }

    #[test]
    fn quotes_commas_and_newlines_survive() {
        let (header, records) = parsed();
        let report = fixture();
        let reason = &records[3][place(&header, "reason")];
        assert_eq!(Some(reason), report.trials[3].reason.as_deref());
    }

    #[test]
    fn keys_are_distinct() {
        let mut keys: Vec<&str> = COLUMNS.iter().map(|column| column.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), COLUMNS.len());
    }
}
