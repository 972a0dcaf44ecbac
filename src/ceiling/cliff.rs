//! A size that runs, but falls off a throughput cliff: what it needs no longer lies in the device's own memory (a driver may
//! lend the host's, a system may swap), and so it does not count.

use super::{Fit, Kind, Pass};
use crate::units::Nanos;

/// How many times slower than expected is a cliff. A choice: what is expected is generous already, because a step is taken to
/// grow with all of the size and not with the part of it that is no weights; memory over PCIe or on a disk is slower by ten
/// times and more.
const TIMES_SLOWER: u64 = 3;

/// Reads a time off what a size took.
type Time = fn(&Pass) -> Option<Nanos>;

/// A step or a prompt that is later than expected by less than this is noise, however many times it is.
const NOISE_STEP: Nanos = Nanos(2_000_000);
const NOISE_PREFILL: Nanos = Nanos(250_000_000);

/// The first of the fits, by ascending size, that fell off a cliff, and how one can tell. Each is held against the next smaller
/// one that did not, the smallest against `before`, if that is smaller.
pub fn first(kind: Kind, before: Option<&Fit>, fits: &[Fit]) -> Option<(usize, String)> {
    let mut base = before;
    for (index, fit) in fits.iter().enumerate() {
        if let Some(base) = base.filter(|base| base.size < fit.size)
            && let Some(reason) = fell(kind, base, fit)
        {
            return Some((index, reason));
        }
        base = Some(fit);
    }
    None
}

/// Why `fit` is over the edge, when `base` is not.
fn fell(kind: Kind, base: &Fit, fit: &Fit) -> Option<String> {
    let growth = f64::from(fit.size) / f64::from(base.size.max(1));
    // Attention over a prompt grows with the square of its length, everything with the number of sequences.
    let squared = if kind == Kind::Context {
        growth * growth
    } else {
        growth
    };
    let parts: [(&str, Time, f64, Nanos); 2] = [
        ("a decode step", |pass| pass.step, growth, NOISE_STEP),
        ("the prompt", |pass| pass.prefill, squared, NOISE_PREFILL),
    ];
    parts.into_iter().find_map(|(what, time, growth, noise)| {
        let (expected, took) = (time(&base.pass)?.0 as f64 * growth, time(&fit.pass)?.0 as f64);
        let late = took > TIMES_SLOWER as f64 * expected && took > expected + noise.0 as f64;
        late.then(|| {
            format!(
                "it ran, but {what} took {:.1} ms where {} predicts {:.1} ms at most: more than {TIMES_SLOWER} times as long, \
                 so it no longer lies in the device's own memory",
                took / 1e6,
                base.size,
                expected / 1e6
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fit(size: u32, prefill_ms: f64, step_ms: f64) -> Fit {
        let nanos = |ms: f64| Some(Nanos((ms * 1e6) as u64));
        Fit {
            size,
            pass: Pass {
                peak: None,
                prefill: nanos(prefill_ms),
                step: nanos(step_ms),
            },
        }
    }

    #[test]
    fn steps_and_prompts_that_grow_as_expected_are_no_cliff() {
        let fits = [
            fit(1024, 100.0, 10.0),
            fit(4096, 1600.0, 40.0),
            fit(4160, 1700.0, 41.0),
        ];
        assert_eq!(first(Kind::Context, None, &fits), None);
    }

    #[test]
    fn a_slow_step_or_a_slow_prompt_is_one() {
        let slow_step = [fit(1024, 100.0, 10.0), fit(1088, 110.0, 40.0)];
        let (index, reason) = first(Kind::Context, None, &slow_step).unwrap();
        assert!(
            index == 1 && reason.contains("a decode step took 40.0 ms where 1024 predicts"),
            "{reason}"
        );
        let slow_prompt = [fit(8, 100.0, 10.0), fit(16, 900.0, 12.0)];
        let (index, reason) = first(Kind::Batch, None, &slow_prompt).unwrap();
        assert!(
            index == 1 && reason.contains("the prompt took 900.0 ms"),
            "{reason}"
        );
        // The square of a context's growth, but not of a batch's.
        assert_eq!(first(Kind::Context, None, &slow_prompt), None);
    }

    #[test]
    fn the_first_over_the_edge_counts_and_what_ran_before_is_a_base() {
        let fits = [fit(64, 1.0, 50.0), fit(128, 1.0, 100.0)];
        assert_eq!(first(Kind::Context, None, &fits), None);
        let before = fit(32, 1.0, 5.0);
        let (index, _) = first(Kind::Context, Some(&before), &fits).unwrap();
        assert_eq!(index, 0);
        // What is larger, or was not timed, is none.
        assert_eq!(
            first(Kind::Context, Some(&fit(4096, 1.0, 0.1)), &fits),
            None
        );
        let untimed = Fit {
            size: 32,
            pass: Pass::default(),
        };
        assert_eq!(first(Kind::Context, Some(&untimed), &fits), None);
    }

    #[test]
    fn a_millisecond_is_noise() {
        let fits = [fit(64, 1.0, 0.1), fit(128, 30.0, 1.5)];
        assert_eq!(first(Kind::Context, None, &fits), None);
    }

    proptest! {
        #[test]
        fn what_grows_no_faster_than_its_size_never_falls(
            sizes in prop::collection::btree_set(1u32..100_000, 1..6),
            step_us in 1u64..100_000, noise in 0.8f64..1.2,
        ) {
            let at = |(index, size): (usize, &u32)| {
                let noise = if index % 2 == 0 { noise } else { 1.0 };
                let step = (step_us * u64::from(*size)) as f64 * noise;
                Fit { size: *size, pass: Pass { peak: None, prefill: None, step: Some(Nanos(step as u64)) } }
            };
            let fits: Vec<Fit> = sizes.iter().enumerate().map(at).collect();
            prop_assert_eq!(first(Kind::Batch, None, &fits), None);
        }
    }
}
