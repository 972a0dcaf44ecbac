//! Holds an engine to committed logits: the prompt in one go, in pieces, token by token, then greedy decode.

use crate::engine::{Engine, EngineError};
use crate::protocol::{Golden, TrialRequest};
use crate::trial::{CheckFacts, DifferenceFacts};

/// The reference of this trial, where it can be held to it: one sequence, and a cache long enough.
pub fn of(request: &TrialRequest) -> Option<&Golden> {
    usable(request, request.golden.as_ref()?)
}

/// The reference of the weights before they were quantised, under the same conditions.
pub fn unquantized(request: &TrialRequest) -> Option<&Golden> {
    usable(request, request.unquantized.as_ref()?)
}

fn usable<'a>(request: &TrialRequest, golden: &'a Golden) -> Option<&'a Golden> {
    let length = golden.prompt.len() + golden.ids.len().saturating_sub(1);
    let usable = request.trial.batch == 1
        && length <= request.trial.context() as usize
        && !golden.prompt.is_empty()
        && golden.logits.len() == golden.ids.len();
    usable.then_some(golden)
}

/// Compares. An engine that cannot is an error; one that differs is a fact.
pub fn check(
    engine: &mut dyn Engine,
    golden: &Golden,
    tolerance: f64,
) -> Result<CheckFacts, EngineError> {
    let mut facts = CheckFacts {
        tolerance,
        prefill_error: feed(engine, golden, golden.prompt.len())?,
        pieces_error: 0.0,
        stepwise_error: 0.0,
        decode_error: 0.0,
        ids_equal: true,
        quantization: None,
    };
    for (row, id) in golden.ids.iter().enumerate() {
        if row > 0 {
            engine.step()?;
            facts.decode_error = facts
                .decode_error
                .max(difference(&engine.logits()?, &golden.logits[row]));
        }
        facts.ids_equal &= engine.next_ids() == [*id];
    }
    facts.pieces_error = feed(engine, golden, golden.prompt.len().div_ceil(3))?;
    facts.stepwise_error = feed(engine, golden, 1)?;
    engine.reset()?;
    Ok(facts)
}

/// Compares with the reference of other weights, along its own text: at every position the engine has read what the reference
/// had read, whatever it would have said itself.
pub fn compare_along(
    engine: &mut dyn Engine,
    golden: &Golden,
) -> Result<DifferenceFacts, EngineError> {
    let mut differences = Differences::default();
    engine.reset()?;
    let mut read = golden.prompt.clone();
    for (expected, id) in golden.logits.iter().zip(&golden.ids) {
        engine.append(&[read])?;
        let found = engine.logits()?;
        differences.add(found.into_iter(), expected, engine.next_ids() == [*id]);
        read = vec![*id];
    }
    engine.reset()?;
    Ok(differences.facts())
}

/// Differences from a reference, position by position.
#[derive(Debug, Default)]
pub struct Differences {
    wrong: f64,
    all: f64,
    same_top: u32,
    positions: u32,
}

impl Differences {
    /// Adds a position: what was found beside what was expected, and whether the most likely token is the same.
    pub fn add(&mut self, found: impl Iterator<Item = f32>, expected: &[f32], same_top: bool) {
        let pairs = found.zip(expected);
        let wrong = pairs.map(|(found, expected)| f64::from(found) - f64::from(*expected));
        self.wrong += squares(wrong);
        self.all += squares(expected.iter().copied().map(f64::from));
        self.same_top += u32::from(same_top);
        self.positions += 1;
    }

    /// The root mean square of all differences over that of all that was expected, and how often the top agreed.
    pub fn facts(&self) -> DifferenceFacts {
        let error = (self.wrong / self.all).sqrt();
        DifferenceFacts {
            // JSON knows no infinity.
            error: if error.is_finite() { error } else { f64::MAX },
            same_top: self.same_top,
            positions: self.positions,
        }
    }
}

fn squares(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum()
}

/// A model that computes something else must not be timed.
pub fn verdict(facts: &CheckFacts) -> Result<(), EngineError> {
    if facts.passed() {
        return Ok(());
    }
    let parts = [
        ("prefill", facts.prefill_error),
        ("prefill in pieces", facts.pieces_error),
        ("token by token", facts.stepwise_error),
        ("decode", facts.decode_error),
    ];
    let (name, error) =
        parts.into_iter().fold(
            parts[0],
            |worst, part| if part.1 > worst.1 { part } else { worst },
        );
    let ids = if facts.ids_equal {
        ""
    } else {
        ", and the generated ids are others"
    };
    let allowed = facts.tolerance;
    Err(EngineError::Model(format!(
        "the logits are not the reference's: {name} differs by {error:.1e} of the largest logit where {allowed:.1e} is allowed{ids}"
    )))
}

/// Feeds the prompt in pieces of this length; the difference of the last logits from the reference's.
fn feed(engine: &mut dyn Engine, golden: &Golden, piece: usize) -> Result<f64, EngineError> {
    engine.reset()?;
    for ids in golden.prompt.chunks(piece.max(1)) {
        engine.append(&[ids.to_vec()])?;
    }
    match golden.logits.first() {
        Some(expected) => Ok(difference(&engine.logits()?, expected)),
        None => Ok(0.0),
    }
}

/// Largest absolute difference over the reference's largest magnitude. What cannot be compared is as far as can be said:
/// JSON knows no infinity.
pub fn difference(got: &[f32], expected: &[f32]) -> f64 {
    if got.len() != expected.len() || got.iter().chain(expected).any(|value| !value.is_finite()) {
        return f64::MAX;
    }
    let scale = expected
        .iter()
        .fold(0.0, |most: f64, value| most.max(f64::from(*value).abs()));
    let pairs = got.iter().zip(expected);
    let worst = pairs.fold(0.0, |most: f64, (a, b)| {
        most.max((f64::from(*a) - f64::from(*b)).abs())
    });
    let ratio = if worst == 0.0 { 0.0 } else { worst / scale };
    if ratio.is_finite() { ratio } else { f64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_is_relative_to_the_largest_expected_magnitude() {
        assert_eq!(difference(&[1.0, -4.0], &[1.0, -4.0]), 0.0);
        assert_eq!(difference(&[2.0, -4.0], &[1.0, -4.0]), 0.25);
        assert_eq!(difference(&[0.0], &[0.0]), 0.0);
    }

    #[test]
    fn what_cannot_be_compared_is_never_close() {
        for (got, expected) in [
            (&[f32::NAN, 1.0][..], &[1.0, 1.0][..]),
            (&[f32::INFINITY], &[1.0]),
            (&[1.0], &[f32::NAN]),
            (&[1.0], &[0.0]),
            (&[1.0], &[1.0, 1.0]),
        ] {
            assert_eq!(difference(got, expected), f64::MAX);
        }
    }

    #[test]
    fn a_failed_check_names_its_worst_part() {
        let facts = CheckFacts {
            tolerance: 1e-4,
            prefill_error: 0.0,
            pieces_error: 0.5,
            stepwise_error: 0.1,
            decode_error: 0.0,
            ids_equal: false,
            quantization: None,
        };
        let reason = verdict(&facts).unwrap_err().to_string();
        assert!(
            reason.contains("in pieces differs by 5.0e-1") && reason.contains("ids are others"),
            "{reason}"
        );
        assert!(
            verdict(&CheckFacts {
                pieces_error: 0.0,
                stepwise_error: 0.0,
                ids_equal: true,
                ..facts
            })
            .is_ok()
        );
    }
}
