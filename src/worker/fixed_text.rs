//! Logits of a fixed text held against those of the same weights in fp32, sampled over the vocabulary: what rounding changed.

use super::reference::Differences;
use crate::engine::{Engine, EngineError};
use crate::protocol::{TextLogits, Told, TrialRequest};
use crate::trial::DifferenceFacts;

/// Compares, every sequence reading the same text; of several the first one's logits count. The engine ends up without sequences.
///
/// The text is read token by token: that is how decode rounds, it is the same for every length of prompt and every batch, and takes
/// no more memory than a decode step did.
pub fn compare(
    engine: &mut dyn Engine,
    request: &TrialRequest,
    expected: &TextLogits,
) -> Result<Told<DifferenceFacts>, EngineError> {
    if let Some(reason) = unfit(request, expected) {
        return Ok(Err(reason));
    }
    match read(engine, request.trial.batch as usize, expected) {
        // It is no part of the trial's work, so memory that is refused to it is not a failure of the trial.
        Err(EngineError::OutOfMemory(reason)) => Ok(Err(format!(
            "there was no memory to read a fixed text: {reason}"
        ))),
        result => result.map(Ok),
    }
}

/// Why the text cannot be read, or its logits not be found.
fn unfit(request: &TrialRequest, expected: &TextLogits) -> Option<String> {
    let (length, context) = (expected.text.len(), request.trial.context());
    if length > context as usize {
        return Some(format!(
            "the fixed text of {length} tokens is longer than the trial's context of {context}; generate more tokens"
        ));
    }
    let vocab = request.io.vocab;
    let beyond = expected.sampled.iter().any(|id| *id >= vocab);
    beyond.then(|| format!("the reference tells of ids beyond the vocabulary of {vocab}"))
}

fn read(
    engine: &mut dyn Engine,
    batch: usize,
    expected: &TextLogits,
) -> Result<DifferenceFacts, EngineError> {
    let mut differences = Differences::default();
    let untold = expected.text.len().saturating_sub(expected.top.len());
    let mut told = expected.top.iter().zip(&expected.logits);
    engine.reset()?;
    for (place, id) in expected.text.iter().enumerate() {
        engine.append(&vec![vec![*id]; batch])?;
        if place < untold {
            continue;
        }
        let Some((top, wanted)) = told.next() else {
            break;
        };
        let logits = engine.logits()?;
        // A row of logits that are not there is a difference without measure, and no row of zeros.
        let found = expected.sampled.iter();
        let found = found.map(|id| logits.get(*id as usize).copied().unwrap_or(f32::NAN));
        differences.add(found, wanted, engine.next_ids().first() == Some(top));
    }
    engine.reset()?;
    Ok(differences.facts())
}

#[cfg(test)]
mod tests {
    use super::super::selfcheck::tests::{Stale, Toy, request};
    use super::*;

    const TEXT: [i64; 6] = [1, 2, 3, 4, 3, 2];

    /// What the toy says at the last three positions, of every third id.
    fn own() -> TextLogits {
        let sampled = vec![0, 3, 6, 9];
        let rows: Vec<Vec<f32>> = (4..=6).map(|end| Toy::logits_of(&TEXT[..end])).collect();
        let top = |row: &Vec<f32>| {
            let best = (0..row.len()).max_by(|one, other| row[*one].total_cmp(&row[*other]));
            best.unwrap() as i64
        };
        TextLogits {
            text: TEXT.to_vec(),
            top: rows.iter().map(top).collect(),
            logits: rows
                .iter()
                .map(|row| sampled.iter().map(|id| row[*id as usize]).collect())
                .collect(),
            sampled,
        }
    }

    fn compared(batch: usize, expected: &TextLogits) -> DifferenceFacts {
        let request = request(vec![vec![7, 7, 7]; batch], 4);
        let mut toy = Toy::new(Stale::Nothing, batch);
        let facts = compare(&mut toy, &request, expected).unwrap().unwrap();
        assert!(toy.appends.iter().all(|(_, new)| *new == 1));
        facts
    }

    #[test]
    fn the_same_logits_differ_by_nothing_in_any_batch() {
        for batch in [1, 3] {
            let facts = compared(batch, &own());
            assert_eq!((facts.error, facts.same_top, facts.positions), (0.0, 3, 3));
        }
    }

    #[test]
    fn the_error_is_relative_to_the_reference_and_another_top_id_is_counted() {
        let mut twice = own();
        for value in twice.logits.iter_mut().flatten() {
            *value *= 2.0;
        }
        twice.top[1] = (twice.top[1] + 1) % 11;
        let facts = compared(1, &twice);
        assert_eq!((facts.error, facts.same_top, facts.positions), (0.5, 2, 3));
    }

    #[test]
    fn one_wrong_id_of_the_text_shows() {
        let mut other = own();
        other.text[0] = 5;
        assert!(compared(1, &other).error > 0.1);
    }

    #[test]
    fn what_cannot_be_compared_says_why() {
        let mut toy = Toy::new(Stale::Nothing, 1);
        let short = request(vec![vec![7, 7, 7]], 2);
        let reason = compare(&mut toy, &short, &own()).unwrap().unwrap_err();
        assert!(
            reason.contains("6 tokens") && reason.contains("context of 5"),
            "{reason}"
        );
        let mut beyond = own();
        beyond.sampled[3] = 11;
        let long = request(vec![vec![7, 7, 7]], 4);
        let reason = compare(&mut toy, &long, &beyond).unwrap().unwrap_err();
        assert!(reason.contains("vocabulary of 11"), "{reason}");
        toy.refuses = true;
        let reason = compare(&mut toy, &long, &own()).unwrap().unwrap_err();
        assert!(
            reason.contains("no memory to read a fixed text"),
            "{reason}"
        );
    }
}
