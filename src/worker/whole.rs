//! A repetition as the published study does it: no KV cache is kept, and the whole sequence is run again for each token. It is timed by
//! the same clock, to show what that costs.

use super::selfcheck::Transcript;
use crate::engine::{Engine, EngineError};
use crate::trial::Repetition;
use crate::units::Nanos;
use std::time::Instant;

/// Generates `tokens` for each of `prompts`. The time of the first pass stands where that of prefill does, those of the others where
/// steps do.
pub fn repeat(
    engine: &mut dyn Engine,
    prompts: &[Vec<i64>],
    tokens: u32,
    transcript: &mut Transcript,
) -> Result<Repetition, EngineError> {
    transcript.clear();
    let passes = tokens.max(1) as usize;
    // Room for every token: nothing is allocated between the clock's readings.
    let mut rows: Vec<Vec<i64>> = prompts
        .iter()
        .map(|prompt| {
            let mut row = Vec::with_capacity(prompt.len() + passes);
            row.extend_from_slice(prompt);
            row
        })
        .collect();
    let mut times = Vec::with_capacity(passes);
    let (mut first, mut inside, mut last) = (Nanos(0), 0, Instant::now());
    for pass in 0..passes {
        engine.reset()?;
        let run = engine.append(&rows)?;
        match pass {
            0 => first = run,
            _ => inside += run.0,
        }
        let next = engine.next_ids();
        transcript.keep(next);
        for (row, id) in rows.iter_mut().zip(next) {
            row.push(*id);
        }
        let now = Instant::now();
        times.push(Nanos::from(now.duration_since(last)));
        last = now;
    }
    let itl = times.split_off(1);
    let total: u64 = itl.iter().map(|time| time.0).sum();
    Ok(Repetition {
        prefill: first,
        ttft: times[0],
        itl,
        outside_run: Nanos(total.saturating_sub(inside)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::selfcheck::tests::{Stale, Toy};
    use super::*;
    use crate::trial::Trial;

    #[test]
    fn each_token_runs_all_before_it_and_the_ids_are_those_of_a_decoder() {
        let prompt = vec![3, 1, 4];
        let mut engine = Toy::new(Stale::Nothing, 1);
        let trial = Trial {
            gen_tokens: 4,
            ..Trial::example()
        };
        let mut transcript = Transcript::of(&trial);
        let timing = repeat(
            &mut engine,
            std::slice::from_ref(&prompt),
            4,
            &mut transcript,
        )
        .unwrap();
        assert_eq!(timing.itl.len(), 3);
        // New tokens of each pass: the row has grown, and nothing of it was kept.
        let lengths: Vec<usize> = engine.appends.iter().map(|(_, tokens)| *tokens).collect();
        assert_eq!(lengths, [3, 4, 5, 6]);
        let whole = transcript.first_ids();

        let mut decoder = Toy::new(Stale::Nothing, 1);
        decoder.append(&[prompt]).unwrap();
        let mut ids = vec![decoder.next_ids()[0]];
        for _ in 1..4 {
            decoder.step().unwrap();
            ids.push(decoder.next_ids()[0]);
        }
        assert_eq!(whole, ids);
    }
}
