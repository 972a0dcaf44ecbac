//! Inter-token latency over the position: the steps of all repetitions, put together by the length of the context that they read.
//! Computed from times that are there anyway; nothing is added to the timed part.

use super::schema::ItlAtPosition;
use crate::stats;
use crate::trial::{Repetition, Trial};

/// Most buckets of a row.
const MOST: usize = 32;

/// The latencies in buckets of neighbouring positions, all about as wide; none where there was no step.
///
/// The first step reads the prompt and the first generated token, each later one a token more.
pub fn itl_by_position(trial: &Trial, repetitions: &[Repetition]) -> Vec<ItlAtPosition> {
    let steps = repetitions.iter().map(|timing| timing.itl.len()).max();
    let steps = steps.unwrap_or(0);
    let count = steps.min(MOST);
    let edge = |nth: usize| nth * steps / count;
    let bucket = |nth: usize| {
        let millis: Vec<f64> = repetitions
            .iter()
            .flat_map(|timing| timing.itl.iter().take(edge(nth + 1)).skip(edge(nth)))
            .map(|step| step.as_millis_f64())
            .collect();
        let context = |step: usize| {
            let step = u32::try_from(step).unwrap_or(u32::MAX);
            trial.prompt_tokens.saturating_add(1).saturating_add(step)
        };
        Some(ItlAtPosition {
            first_context: context(edge(nth)),
            last_context: context(edge(nth + 1) - 1),
            tokens: u64::from(trial.batch) * millis.len() as u64,
            p25_ms: stats::quantile(&millis, 0.25)?,
            median_ms: stats::median(&millis)?,
            p75_ms: stats::quantile(&millis, 0.75)?,
        })
    };
    (0..count).filter_map(bucket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use proptest::prelude::*;

    #[test]
    fn each_bucket_has_the_steps_of_its_positions_in_all_repetitions() {
        let mut trial = fixture::trial("m", 65);
        trial.batch = 2;
        let slower: Vec<u64> = (0..64).map(|step| 10 + step / 2).collect();
        let same: Vec<u64> = slower.iter().map(|step| step + 2).collect();
        let timed = [
            fixture::repetition(1, &slower),
            fixture::repetition(1, &same),
        ];
        let found = itl_by_position(&trial, &timed);
        assert_eq!(found.len(), 32);
        let context = trial.prompt_tokens + 1;
        let first = ItlAtPosition {
            first_context: context,
            last_context: context + 1,
            tokens: 8,
            p25_ms: 10.0,
            median_ms: 11.0,
            p75_ms: 12.0,
        };
        assert_eq!(found[0], first);
        assert_eq!(found[31].median_ms, 11.0 + 31.0);
    }

    #[test]
    fn without_a_step_there_is_no_bucket() {
        let trial = fixture::trial("m", 1);
        assert!(itl_by_position(&trial, &[fixture::repetition(1, &[])]).is_empty());
        assert!(itl_by_position(&trial, &[]).is_empty());
    }

    proptest! {
        #[test]
        fn buckets_cover_every_position_once_and_count_every_token(
            steps in 1_usize..500, repetitions in 1_usize..4, batch in 1_u32..9, prompt in 0_u32..5000,
        ) {
            let mut trial = fixture::trial("m", 8);
            (trial.batch, trial.prompt_tokens) = (batch, prompt);
            let timed = vec![fixture::repetition(1, &vec![3; steps]); repetitions];
            let found = itl_by_position(&trial, &timed);
            prop_assert!(found.len() <= MOST && !found.is_empty());
            prop_assert_eq!(found[0].first_context, prompt + 1);
            prop_assert_eq!(found[found.len() - 1].last_context, prompt + steps as u32);
            for pair in found.windows(2) {
                prop_assert_eq!(pair[0].last_context + 1, pair[1].first_context);
            }
            for one in &found {
                let positions = u64::from(one.last_context - one.first_context + 1);
                prop_assert_eq!(one.tokens, positions * repetitions as u64 * u64::from(batch));
            }
            let tokens: u64 = found.iter().map(|one| one.tokens).sum();
            prop_assert_eq!(tokens, (steps * repetitions) as u64 * u64::from(batch));
        }
    }
}
