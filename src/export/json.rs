//! The whole report as JSON: the codec's text, nothing left out.

use crate::error::Result;
use crate::report::{Report, to_json};

/// The report as indented JSON.
pub fn render(report: &Report) -> Result<String> {
    to_json(report)
}
