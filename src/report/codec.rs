//! Report to JSON and back: pretty, full precision, unknown fields ignored, another major schema refused.

use super::schema::{Report, Row, SCHEMA_VERSION};
use super::{Ceiling, Repeatability, Study};
use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One row of a stream, with the schema in front so that each line can be read alone.
#[derive(Serialize)]
struct Line<'a> {
    /// [`SCHEMA_VERSION`].
    schema_version: &'a str,
    /// The row.
    #[serde(flatten)]
    row: &'a Row,
}

/// The report as indented JSON with a final newline.
pub fn to_json(report: &Report) -> Result<String> {
    let mut text =
        serde_json::to_string_pretty(report).map_err(|cause| Error::Bug(cause.to_string()))?;
    readable::<Report>(&text)?;
    text.push('\n');
    Ok(text)
}

/// One row as one line of JSON with its `schema_version`, without a newline.
pub fn to_json_line(row: &Row) -> Result<String> {
    let line = Line {
        schema_version: SCHEMA_VERSION,
        row,
    };
    let text = serde_json::to_string(&line).map_err(|cause| Error::Bug(cause.to_string()))?;
    readable::<Row>(&text)?;
    Ok(text)
}

/// One ceiling of a stream.
#[derive(Serialize)]
struct CeilingLine<'a> {
    /// [`SCHEMA_VERSION`].
    schema_version: &'a str,
    /// The ceiling, under a name that no row has.
    ceiling: &'a Ceiling,
}

/// One ceiling as one line of JSON with its `schema_version`, without a newline.
pub fn ceiling_to_json_line(ceiling: &Ceiling) -> Result<String> {
    let line = CeilingLine {
        schema_version: SCHEMA_VERSION,
        ceiling,
    };
    let text = serde_json::to_string(&line).map_err(|cause| Error::Bug(cause.to_string()))?;
    let ceiling = serde_json::to_string(ceiling).map_err(|cause| Error::Bug(cause.to_string()))?;
    readable::<Ceiling>(&ceiling)?;
    Ok(text)
}

/// A part of a report that is about all of its rows.
#[derive(Serialize)]
struct ClosingLine<'a> {
    /// [`SCHEMA_VERSION`].
    schema_version: &'a str,
    /// The study.
    #[serde(skip_serializing_if = "Option::is_none")]
    study: Option<&'a Study>,
    /// The spread of several runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeatability: Option<&'a Repeatability>,
}

/// The study and the spread of several runs, where there are any, as a line of JSON each without a newline.
pub fn closing_to_json_lines(report: &Report) -> Result<Vec<String>> {
    let line = |study, repeatability| ClosingLine {
        schema_version: SCHEMA_VERSION,
        study,
        repeatability,
    };
    let study = report.study.as_ref().map(|study| line(Some(study), None));
    let repeated = report.repeatability.as_ref();
    let repeated = repeated.map(|repeated| line(None, Some(repeated)));
    let lines = study.into_iter().chain(repeated);
    let text = |line| serde_json::to_string(&line).map_err(|cause| Error::Bug(cause.to_string()));
    lines.map(text).collect()
}

/// JSON has no NaN and serde writes null for it: what cannot be read back must not be written.
fn readable<T: DeserializeOwned>(text: &str) -> Result<()> {
    match serde_json::from_str::<T>(text) {
        Ok(_) => Ok(()),
        Err(cause) => Err(Error::Bug(format!(
            "a result that cannot be read back ({cause})"
        ))),
    }
}

/// The report in `text`. Fields this version does not know are ignored.
pub fn from_json(text: &str) -> Result<Report> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|cause| {
        Error::Usage(format!(
            "this is not an edgebench result: it is not JSON ({cause})"
        ))
    })?;
    let found = value
        .get("schema_version")
        .and_then(serde_json::Value::as_str)
        .ok_or_else(|| {
            Error::Usage("this is not an edgebench result: it has no \"schema_version\"".to_owned())
        })?;
    if major(found) != major(SCHEMA_VERSION) {
        return Err(Error::Usage(format!(
            "this result has schema version {found:?} and this edgebench reads {SCHEMA_VERSION}; use the edgebench that wrote it, or measure again"
        )));
    }
    serde_json::from_value(value)
        .map_err(|cause| Error::Usage(format!("this edgebench result is damaged: {cause}")))
}

/// The major number of a version; `None` when there is none.
fn major(version: &str) -> Option<u64> {
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use proptest::prelude::*;

    #[test]
    fn a_report_survives_the_round_trip() {
        let report = fixture();
        assert_eq!(from_json(&to_json(&report).unwrap()).unwrap(), report);
    }

    #[test]
    fn unknown_fields_are_ignored_everywhere() {
        let mut value = serde_json::to_value(fixture()).unwrap();
        value["later"] = 1.into();
        value["environment"]["later"] = 1.into();
        value["trials"][0]["later"] = serde_json::json!({"a": [1]});
        value["trials"][0]["memory"]["later"] = 1.into();
        value["schema_version"] = "1.9".into();
        let report = from_json(&value.to_string()).unwrap();
        assert_eq!(report.trials, fixture().trials);
    }

    #[test]
    fn another_major_schema_is_refused_with_a_sentence() {
        for version in ["2.0", "0.3", "new"] {
            let mut value = serde_json::to_value(fixture()).unwrap();
            value["schema_version"] = version.into();
            let error = from_json(&value.to_string()).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains(&format!("schema version \"{version}\"")),
                "{error}"
            );
            assert_eq!(error.exit_code(), crate::error::exit::USAGE);
        }
    }

    #[test]
    fn what_is_no_result_is_refused() {
        for text in [
            "",
            "{",
            "[]",
            "{}",
            "{\"schema_version\": 1}",
            "{\"schema_version\": \"1.0\"}",
        ] {
            assert!(from_json(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_that_is_none_is_never_written() {
        let mut report = fixture();
        if let Some(speed) = &mut report.trials[0].decode_tok_s {
            speed.mean = f64::NAN;
        }
        assert!(matches!(to_json(&report), Err(Error::Bug(_))));
        assert!(matches!(
            to_json_line(&report.trials[0]),
            Err(Error::Bug(_))
        ));
    }

    #[test]
    fn a_line_is_a_row_with_its_schema() {
        let row = fixture().trials.remove(0);
        let line = to_json_line(&row).unwrap();
        assert!(
            line.starts_with(&format!("{{\"schema_version\":\"{SCHEMA_VERSION}\","))
                && !line.contains('\n')
        );
        assert_eq!(serde_json::from_str::<Row>(&line).unwrap(), row);
    }

    proptest! {
        #[test]
        fn no_digit_is_lost(value in any::<f64>().prop_filter("finite", |value| value.is_finite()), text in ".*") {
            let mut report = fixture();
            report.tokenizer = text;
            report.trials[0].wall_s = Some(value);
            let back = from_json(&to_json(&report).unwrap()).unwrap();
            prop_assert_eq!(back, report);
        }

        #[test]
        fn rubbish_is_an_error_and_never_a_panic(text in ".*") {
            prop_assert!(from_json(&text).is_err());
        }
    }
}
