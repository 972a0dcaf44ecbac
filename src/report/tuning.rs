//! Which tunings of the runtime a row was measured with, and what was tried before.

use super::schema::Row;
use crate::trial::{Trial, TuningName, can_be_tuned};
use crate::tuning::{Choice, Found, LeftAlone, Tried};
use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The tunings of a row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// How they were chosen: `auto` by short trials, `named` by the user, `off` for none.
    pub mode: String,
    /// Names of those that the row was measured with.
    pub kept: Vec<String>,
    /// The environment variables that they are.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// What was tried, in order, each on top of those before it that were kept.
    #[serde(default)]
    pub tried: Vec<TriedTuning>,
    /// What was neither tried nor applied, although it was wanted.
    #[serde(default)]
    pub left_alone: Vec<LeftAloneTuning>,
    /// What a reader must know besides: why nothing was tried, or why what won is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A tuning that was tried in a short trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriedTuning {
    /// Its name.
    pub name: String,
    /// Decode speed with it; null where the trial gave none, as `reason` says.
    pub decode_tok_s: Option<f64>,
    /// Decode speed without it; of two measurements the better one.
    pub base_tok_s: f64,
    /// The former over the latter.
    pub ratio: Option<f64>,
    /// Peak of memory with it, where it was read.
    pub peak_bytes: Option<u64>,
    /// Whether it won.
    pub kept: bool,
    /// Why, in words.
    pub reason: String,
}

/// A tuning that was left alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeftAloneTuning {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl Tuning {
    /// Of a row that was measured with `kept`.
    pub fn new(
        choice: &Choice,
        kept: &[TuningName],
        found: &Found,
        left_alone: &[LeftAlone],
        note: Option<String>,
    ) -> Tuning {
        let variables = kept.iter().flat_map(|name| name.tuning().environment);
        Tuning {
            mode: choice.mode().to_owned(),
            kept: kept.iter().map(TuningName::to_string).collect(),
            environment: variables
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            tried: found.tried.iter().map(tried).collect(),
            left_alone: left_alone
                .iter()
                .map(|one| LeftAloneTuning {
                    name: one.name.to_string(),
                    reason: one.reason.clone(),
                })
                .collect(),
            note,
        }
    }
}

impl Tuning {
    /// What the search found that chose these; `None` where none was made, or where it names what this edgebench does not know.
    pub fn found(&self) -> Option<Found> {
        let is_search = self.mode == Choice::Auto.mode();
        if !is_search || self.tried.is_empty() && self.note.is_none() {
            return None;
        }
        let tried: Vec<Tried> = self.tried.iter().map(again).collect::<Option<_>>()?;
        let kept = || tried.iter().filter(|one| one.kept);
        Some(Found {
            kept: kept().map(|one| one.name).collect(),
            peak: kept().next_back().and_then(|one| one.peak),
            // A note beside what was tried is of the row.
            note: self.note.clone().filter(|_| tried.is_empty()),
            tried,
        })
    }
}

fn again(tried: &TriedTuning) -> Option<Tried> {
    Some(Tried {
        name: TuningName::try_from(tried.name.clone()).ok()?,
        decode_tok_s: tried.decode_tok_s,
        base_tok_s: tried.base_tok_s,
        peak: tried.peak_bytes.map(Bytes),
        kept: tried.kept,
        reason: tried.reason.clone(),
    })
}

fn tried(tried: &Tried) -> TriedTuning {
    TriedTuning {
        name: tried.name.to_string(),
        decode_tok_s: tried.decode_tok_s,
        base_tok_s: tried.base_tok_s,
        ratio: tried.ratio(),
        peak_bytes: tried.peak.map(|peak| peak.0),
        kept: tried.kept,
        reason: tried.reason.clone(),
    }
}

/// The row with the tunings that it was measured with.
pub fn with_tuning(mut row: Row, tuning: Option<Tuning>) -> Row {
    if let Some(tuning) = tuning {
        row.not_measured.remove("tuning");
        row.tuning = Some(tuning);
    }
    row
}

/// Why a trial has no word on tunings.
pub(super) fn missing(trial: &Trial) -> &'static str {
    if can_be_tuned(trial) {
        "the trial was not started"
    } else {
        "only the fused form on the CUDA provider has tunings"
    }
}

/// What the row was measured with, names joined by `+`; `none` for none, and `None` where that does not apply.
pub fn tuning_name(row: &Row) -> Option<String> {
    let tuning = row.tuning.as_ref()?;
    Some(match tuning.kept.as_slice() {
        [] => "none".to_owned(),
        kept => kept.join("+"),
    })
}
