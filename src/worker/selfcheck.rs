//! Decode held to prefill: what a trial generated is read again from the host, as a prompt is, and must end in the same logits.
//!
//! Decode steps take ways of their own: ids and state stay on the device, the cache is written in place, and on a GPU a captured
//! graph is replayed. What is read from the host takes none of them. So a step that reads what is no longer written, which computes at
//! full speed and says nothing, cannot pass. Ids are not compared: the text that is read again is the one that decode wrote.

use super::reference::difference;
use crate::engine::{Engine, EngineError};
use crate::protocol::TrialRequest;
use crate::trial::{DecodeFacts, DecodeRule, Reading, Trial};

/// Generated ids of row 0 that are told, so that equal runs can be told from different ones.
const FIRST_IDS: usize = 16;

/// Every id of one repetition, step by step. Its room is set aside before any clock runs.
pub struct Transcript {
    batch: usize,
    ids: Vec<i64>,
}

impl Transcript {
    /// Room for the ids of a trial.
    pub fn of(trial: &Trial) -> Transcript {
        let batch = trial.batch as usize;
        Transcript {
            batch,
            ids: Vec::with_capacity(batch * trial.gen_tokens as usize),
        }
    }

    /// Forgets the repetition before.
    pub fn clear(&mut self) {
        self.ids.clear();
    }

    /// Keeps the next id of each row while there is room.
    pub fn keep(&mut self, next_ids: &[i64]) {
        if self.ids.len() + next_ids.len() <= self.ids.capacity() {
            self.ids.extend_from_slice(next_ids);
        }
    }

    /// The first ids of row 0.
    pub fn first_ids(&self) -> Vec<i64> {
        let steps = self.ids.iter().step_by(self.batch.max(1));
        steps.take(FIRST_IDS).copied().collect()
    }

    /// What the cache holds after the last step: the prompts, and every generated id but the last, which nothing has read.
    fn read(&self, prompts: &[Vec<i64>]) -> Vec<Vec<i64>> {
        let unread = self.ids.len().saturating_sub(self.batch);
        let rows = prompts.iter().enumerate();
        rows.map(|(row, prompt)| {
            let generated = self.ids[..unread].iter().skip(row).step_by(self.batch);
            prompt.iter().chain(generated).copied().collect()
        })
        .collect()
    }
}

/// Compares, when the last repetition has just decoded its last token; the engine ends up without sequences. One that cannot is an
/// error; one that differs is a fact.
pub fn check(
    engine: &mut dyn Engine,
    request: &TrialRequest,
    transcript: &Transcript,
    rule: DecodeRule,
) -> Result<DecodeFacts, EngineError> {
    let decoded = engine.logits()?;
    let rows = transcript.read(&request.prompts);
    let prompt = request.trial.prompt_tokens as usize;
    let position = rows.first().map_or(0, Vec::len);
    engine.reset()?;
    let mut at = 0;
    while at < position {
        let end = at + piece(rule.reading, prompt, at, position);
        let pieces: Vec<_> = rows.iter().map(|row| row[at..end].to_vec()).collect();
        engine.append(&pieces)?;
        at = end;
    }
    let vocab = request.io.vocab as usize;
    let error = worst(&decoded, &engine.logits()?, vocab);
    engine.reset()?;
    Ok(DecodeFacts {
        position: u32::try_from(position).unwrap_or(u32::MAX),
        error,
        rule,
    })
}

/// Length of the piece that begins at `at` of `all` tokens: first the prompt; then no longer than it, and so that new tokens times
/// tokens to look back at, by which attention needs memory, are no more than they were for it.
fn piece(reading: Reading, prompt: usize, at: usize, all: usize) -> usize {
    if reading == Reading::Tokens && at > 0 {
        return 1;
    }
    let most = prompt * prompt;
    let longest = (all - at).min(prompt);
    let fits = |new: &usize| new * (at + new) <= most;
    (1..=longest).rev().find(fits).unwrap_or(1)
}

/// The largest difference of any row.
fn worst(decoded: &[f32], read: &[f32], vocab: usize) -> f64 {
    if decoded.len() != read.len() {
        return f64::MAX;
    }
    let rows = decoded.chunks(vocab.max(1)).zip(read.chunks(vocab.max(1)));
    rows.map(|(decoded, read)| difference(decoded, read))
        .fold(0.0, f64::max)
}

/// A decode that computes something else is not the model's.
pub fn verdict(facts: &DecodeFacts) -> Result<(), EngineError> {
    if facts.passed() {
        return Ok(());
    }
    let DecodeFacts {
        position,
        error,
        rule,
    } = facts;
    let read = match rule.reading {
        Reading::Pieces => "in pieces",
        Reading::Tokens => "token by token",
    };
    let tolerance = rule.tolerance;
    Err(EngineError::Model(format!(
        "decode is not what prefill is: after {position} tokens the logits of the last decode step differ by {error:.1e} of the largest logit from those of the same tokens read {read} as a prompt is, where {tolerance:.1e} is allowed; do not use these figures, and try another --form, or --no-cuda-graph on a GPU"
    )))
}

#[cfg(test)]
mod depth_tests;
#[cfg(test)]
pub(super) mod tests;
