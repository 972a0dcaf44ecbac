//! When a warm-up may end: after a given number of repetitions, or once the last two took the same time. Pure.

use crate::trial::{Repetition, Trial, WarmthEnd, WarmthFacts};
use crate::units::Nanos;

/// How far apart two repetitions may be, over the shorter of them, to be called steady.
const TOLERANCE: f64 = 0.02;
/// Repetitions of a warm-up that is to become steady, at most: a device that still changes then is measured as it is, and said to.
const MOST: u32 = 5;
/// None is begun after so long. A slow device is warm by then.
const LONGEST: Nanos = Nanos(30_000_000_000);

/// A warm-up under way.
pub struct Warmth {
    least: u32,
    steady: bool,
    taken: Vec<Nanos>,
    end: Option<WarmthEnd>,
}

impl Warmth {
    /// Before the first repetition.
    pub fn new(trial: &Trial) -> Warmth {
        Warmth {
            least: trial.warmup,
            steady: trial.steady,
            taken: Vec::new(),
            end: None,
        }
    }

    /// Whether there is to be another repetition, so long after the first began.
    pub fn goes_on(&mut self, elapsed: Nanos) -> bool {
        let count = u32::try_from(self.taken.len()).unwrap_or(u32::MAX);
        if count < self.least {
            return true;
        }
        if !self.steady {
            return false;
        }
        let apart = self.difference();
        self.end = match apart {
            Some(apart) if apart <= TOLERANCE => Some(WarmthEnd::Steady),
            _ if count >= MOST.max(self.least) => Some(WarmthEnd::Repetitions),
            _ if elapsed >= LONGEST => Some(WarmthEnd::Time),
            _ => None,
        };
        self.end.is_none()
    }

    /// A repetition has ended.
    pub fn took(&mut self, timing: &Repetition) {
        let steps: u64 = timing.itl.iter().map(|step| step.0).sum();
        self.taken.push(Nanos(timing.ttft.0 + steps));
    }

    /// How far apart the last two were.
    fn difference(&self) -> Option<f64> {
        let [.., before, last] = self.taken.as_slice() else {
            return None;
        };
        let (short, long) = (before.0.min(last.0), before.0.max(last.0));
        let apart = (long - short) as f64 / short as f64;
        apart.is_finite().then_some(apart)
    }

    /// How it ended; `None` where its length was given.
    pub fn facts(&self) -> Option<WarmthFacts> {
        Some(WarmthFacts {
            repetitions: u32::try_from(self.taken.len()).unwrap_or(u32::MAX),
            difference: self.difference(),
            tolerance: TOLERANCE,
            end: self.end?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs a warm-up whose repetitions take these milliseconds, the last again and again.
    fn run(least: u32, steady: bool, millis: &[u64]) -> (usize, Option<WarmthFacts>) {
        let trial = Trial {
            warmup: least,
            steady,
            ..Trial::example()
        };
        let (mut warmth, mut elapsed) = (Warmth::new(&trial), 0);
        for turn in 0.. {
            if !warmth.goes_on(Nanos(elapsed)) {
                break;
            }
            let took = millis[turn.min(millis.len() - 1)] * 1_000_000;
            elapsed += took;
            warmth.took(&Repetition {
                prefill: Nanos(took / 4),
                ttft: Nanos(took / 2),
                itl: vec![Nanos(took / 4); 2],
                outside_run: Nanos(0),
            });
        }
        (warmth.taken.len(), warmth.facts())
    }

    #[test]
    fn a_given_number_is_kept_and_tells_nothing_of_steadiness() {
        assert_eq!(run(3, false, &[10, 1, 1]), (3, None));
        assert_eq!(run(0, false, &[10]), (0, None));
    }

    #[test]
    fn it_goes_on_until_two_agree() {
        let (count, facts) = run(1, true, &[100, 50, 51, 50]);
        let facts = facts.unwrap();
        assert_eq!((count, facts.end), (3, WarmthEnd::Steady));
        assert!((facts.difference.unwrap() - 0.02).abs() < 1e-9);
    }

    #[test]
    fn what_never_agrees_ends_by_the_cap_on_repetitions() {
        let (count, facts) = run(1, true, &[100, 50, 100, 50, 100, 50]);
        assert_eq!(
            (count as u32, facts.unwrap().end),
            (MOST, WarmthEnd::Repetitions)
        );
    }

    #[test]
    fn a_slow_device_ends_by_time_and_one_repetition_has_no_difference() {
        let (count, facts) = run(1, true, &[40_000]);
        let facts = facts.unwrap();
        assert_eq!(
            (count, facts.end, facts.difference),
            (1, WarmthEnd::Time, None)
        );
    }

    proptest! {
        #[test]
        fn it_always_ends_and_steady_means_that_the_last_two_agree(millis in prop::collection::vec(1..100_u64, 1..8), least in 1..9_u32) {
            let (count, facts) = run(least, true, &millis);
            let facts = facts.unwrap();
            prop_assert!(count as u32 >= least && count as u32 <= least.max(MOST));
            prop_assert_eq!(facts.repetitions as usize, count);
            let agree = facts.difference.is_some_and(|apart| apart <= TOLERANCE);
            prop_assert_eq!(facts.end == WarmthEnd::Steady, agree);
        }
    }
}
