//! The largest sizes that are predicted to fit a budget. Predictions, not ceilings: those are found by running.

use super::{Predict, fit};
use crate::model::{ModelSpec, check_device};
use crate::trial::Trial;
use serde::Serialize;

/// The most sequences that `--batch` takes.
pub const MOST_SEQUENCES: u32 = 65_536;

/// What keeps a size from being larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The memory budget.
    Budget,
    /// The model has no more positions.
    Positions,
    /// The largest number that the flag takes.
    Flag,
    /// The device has no operators for the model in this precision.
    Operators,
}

/// A largest size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The size; `None` where not even the smallest fits.
    pub size: Option<u32>,
    /// What keeps it from being larger.
    pub limited_by: Bound,
}

/// What is predicted to fit the budget of a trial, of its model, form and precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// The longest context of one sequence, in tokens: a prompt and one generated token.
    pub context_at_batch_1: Limit,
    /// The most sequences of the trial's own prompt and generated tokens.
    pub batch: Limit,
}

/// The bounds of a trial's kind.
pub fn of(spec: &ModelSpec, trial: &Trial, predict: Predict<'_>) -> Bounds {
    if check_device(spec, trial.precision, trial.device).is_err() {
        let none = Limit {
            size: None,
            limited_by: Bound::Operators,
        };
        return Bounds {
            context_at_batch_1: none,
            batch: none,
        };
    }
    let fits = |trial: &Trial| predict(spec, trial).total() <= trial.budget;
    let context = |tokens: u32| {
        fits(&Trial {
            batch: 1,
            prompt_tokens: tokens - 1,
            gen_tokens: 1,
            // The length is what is asked for here.
            kv_room: None,
            ..trial.clone()
        })
    };
    let batch = |batch: u32| {
        fits(&Trial {
            batch,
            ..trial.clone()
        })
    };
    let sequences = if fit::is_too_long(spec, trial) {
        Limit {
            size: None,
            limited_by: Bound::Positions,
        }
    } else {
        limit(1, MOST_SEQUENCES, Bound::Flag, &batch)
    };
    Bounds {
        context_at_batch_1: limit(2, spec.max_positions, Bound::Positions, &context),
        batch: sequences,
    }
}

/// The largest of `least..=most` that fits, when all up to some size do; `end` is what stands behind `most`.
fn limit(least: u32, most: u32, end: Bound, fits: &dyn Fn(u32) -> bool) -> Limit {
    if fits(most) {
        return Limit {
            size: Some(most),
            limited_by: end,
        };
    }
    let (mut good, mut bad) = (least - 1, most);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Limit {
        size: (good >= least).then_some(good),
        limited_by: Bound::Budget,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{find, footprint};
    use crate::trial::{Device, Form, Precision};
    use crate::units::Bytes;

    #[test]
    fn the_largest_that_fits_is_found_exactly() {
        for most in [2, 3, 64, 1000] {
            for edge in 0..=most {
                let found = limit(2, most, Bound::Positions, &|size| size <= edge);
                let expected = match edge {
                    _ if edge >= most => (Some(most), Bound::Positions),
                    2.. => (Some(edge), Bound::Budget),
                    _ => (None, Bound::Budget),
                };
                assert_eq!((found.size, found.limited_by), expected, "{edge} of {most}");
            }
        }
    }

    fn trial(prompt_tokens: u32, budget: Bytes) -> Trial {
        Trial {
            form: Form::Plain,
            precision: Precision::Fp16,
            device: Device::Cuda(0),
            prompt_tokens,
            gen_tokens: 128,
            budget,
            ..Trial::example()
        }
    }

    #[test]
    fn one_more_than_the_bound_is_predicted_not_to_fit() {
        let spec = find("llama-1b").unwrap();
        let trial = trial(256, Bytes(4 << 30));
        let bounds = of(spec, &trial, &footprint);
        let fits = |batch: u32, prompt_tokens: u32, gen_tokens: u32| {
            let trial = Trial {
                batch,
                prompt_tokens,
                gen_tokens,
                ..trial.clone()
            };
            footprint(spec, &trial).total() <= trial.budget
        };
        let tokens = bounds.context_at_batch_1.size.unwrap();
        assert!(fits(1, tokens - 1, 1) && !fits(1, tokens, 1));
        let batch = bounds.batch.size.unwrap();
        assert!(fits(batch, 256, 128) && !fits(batch + 1, 256, 128));
    }

    #[test]
    fn positions_and_operators_are_limits_of_their_own() {
        let spec = find("dense-120m").unwrap();
        let plenty = of(spec, &trial(256, Bytes(1 << 40)), &footprint);
        let context = plenty.context_at_batch_1;
        assert_eq!(
            (context.size, context.limited_by),
            (Some(1024), Bound::Positions)
        );
        let long = of(spec, &trial(1000, Bytes(1 << 40)), &footprint);
        assert_eq!(
            (long.batch.size, long.batch.limited_by),
            (None, Bound::Positions)
        );
        let experts = Trial {
            precision: Precision::Int4,
            ..trial(64, Bytes(1 << 40))
        };
        let none = of(find("tiny-moe-llama").unwrap(), &experts, &footprint);
        assert_eq!(
            (none.batch.size, none.batch.limited_by),
            (None, Bound::Operators)
        );
        let small = of(spec, &trial(256, Bytes(1 << 20)), &footprint);
        assert_eq!(
            (small.batch.size, small.context_at_batch_1.size),
            (None, None)
        );
    }
}
