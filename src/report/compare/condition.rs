//! Conditions that fail a comparison, for scripts: `decode_tok_s<0.95`. What could not be judged fails it too.

use super::quantity::Quantity;
use super::verdict::Verdict;
use super::{Against, Pair};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// How a ratio is held to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<`.
    Below,
    /// `<=`.
    AtMost,
    /// `>`.
    Above,
    /// `>=`.
    AtLeast,
}

impl Operator {
    /// Every operator with its sign, longer ones first.
    pub const ALL: [(&'static str, Operator); 4] = [
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("<", Operator::Below),
        (">", Operator::Above),
    ];

    /// Whether the ratio is what the condition fails for.
    fn holds(self, ratio: f64, limit: f64) -> bool {
        match self {
            Operator::Below => ratio < limit,
            Operator::AtMost => ratio <= limit,
            Operator::Above => ratio > limit,
            Operator::AtLeast => ratio >= limit,
        }
    }
}

/// A condition on the ratio of a quantity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    /// The quantity.
    pub quantity: Quantity,
    /// The operator.
    pub operator: Operator,
    /// The limit.
    pub limit: f64,
}

impl Condition {
    /// Whether this ratio fails it.
    pub fn fails(&self, ratio: f64) -> bool {
        self.operator.holds(ratio, self.limit)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = Operator::ALL
            .iter()
            .find(|(_, operator)| *operator == self.operator);
        let sign = sign.map_or("", |(sign, _)| sign);
        write!(f, "{}{sign}{}", self.quantity.name(), self.limit)
    }
}

/// What came of a condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    /// The condition, as it is written on the command line.
    pub condition: String,
    /// The result: `passed`, `failed`, or `not_judged` where nothing failed but something could not be judged.
    pub outcome: &'static str,
    /// How many rows were judged.
    pub judged: usize,
    /// Rows that fail it.
    pub failed: Vec<Failed>,
    /// Rows that have a figure in the baseline and could not be judged.
    pub not_judged: Vec<NotJudged>,
}

/// A row that fails a condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failed {
    /// Label of the file.
    pub file: String,
    /// The row.
    pub row: String,
    /// Its ratio.
    pub ratio: f64,
    /// 95 % interval of the ratio.
    pub ci95: Option<[f64; 2]>,
    /// Why there is no interval, by field name.
    pub not_measured: BTreeMap<&'static str, String>,
}

/// A row that could not be judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NotJudged {
    /// Label of the file.
    pub file: String,
    /// The row.
    pub row: String,
    /// Why.
    pub reason: String,
}

/// Judges a condition. A row without a figure in the baseline has nothing to fall behind, and is passed over.
pub fn check(condition: &Condition, against: &[&Against]) -> Checked {
    let mut checked = Checked {
        condition: condition.to_string(),
        outcome: "passed",
        judged: 0,
        failed: Vec::new(),
        not_judged: Vec::new(),
    };
    for other in against {
        for pair in &other.pairs {
            check_pair(condition, &other.file, pair, &mut checked);
        }
        let lost = other.lost.iter();
        for (row, _) in lost.filter(|(_, known)| known.contains(&condition.quantity)) {
            checked.not_judged.push(NotJudged {
                file: other.file.clone(),
                row: row.clone(),
                reason: format!("{} has no such row", other.file),
            });
        }
    }
    if !checked.failed.is_empty() {
        checked.outcome = "failed";
    } else if checked.judged == 0 || !checked.not_judged.is_empty() {
        checked.outcome = "not_judged";
    }
    checked
}

/// Judges a condition on one pair.
fn check_pair(condition: &Condition, file: &str, pair: &Pair, checked: &mut Checked) {
    let mut metrics = pair.metrics.iter();
    let Some(found) = metrics.find(|found| found.metric == condition.quantity) else {
        return;
    };
    let (file, row) = (file.to_owned(), pair.row.clone());
    match found.ratio {
        Some(ratio) => {
            checked.judged += 1;
            if condition.fails(ratio) {
                checked.failed.push(Failed {
                    file,
                    row,
                    ratio,
                    ci95: found.ci95,
                    not_measured: found.not_measured.clone(),
                });
            }
        }
        None if pair.baseline_is_sound && found.baseline.is_some() => {
            debug_assert_eq!(found.verdict, Verdict::NotComparable);
            let reason = found.reason.clone().unwrap_or_default();
            checked.not_judged.push(NotJudged { file, row, reason });
        }
        None => {}
    }
}

/// Most rows that a sentence names one by one.
const NAMED: usize = 6;

/// Why a condition is not passed, as part of a sentence; `None` where it is.
pub fn complaint(checked: &Checked) -> Option<String> {
    let name = &checked.condition;
    let mut parts = Vec::new();
    if !checked.failed.is_empty() {
        let rows = checked.failed.iter().map(|row| {
            let interval = row.ci95.map_or_else(String::new, |[low, high]| {
                format!(", 95 % interval {low:.3} to {high:.3}")
            });
            format!(
                "{} in {} (ratio {:.3}{interval})",
                row.row, row.file, row.ratio
            )
        });
        parts.push(format!("{name} is true for {}", listed(rows)));
    }
    if !checked.not_judged.is_empty() {
        let rows = checked
            .not_judged
            .iter()
            .map(|row| format!("{} in {} ({})", row.row, row.file, row.reason));
        parts.push(format!("{name} could not be judged for {}", listed(rows)));
    } else if checked.judged == 0 {
        parts.push(format!("{name} could not be judged for any row"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The first few, and how many more there are.
fn listed(rows: impl ExactSizeIterator<Item = String>) -> String {
    let more = rows.len().saturating_sub(NAMED);
    let named: Vec<String> = rows.take(NAMED).collect();
    let rest = match more {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    named.join(", ") + &rest
}
