//! The search against memory functions: flat ones, steps, curves and liars.

use super::super::{CONTEXT_STEP, Pass};
use super::*;
use crate::units::Nanos;
use proptest::prelude::*;

const CONTEXT: Sizes = Sizes {
    step: CONTEXT_STEP,
    most: 131_072,
    end: Limit::Positions,
};
const BATCH: Sizes = Sizes {
    step: 1,
    most: 65_536,
    end: Limit::Flag,
};

fn pass(peak: u64) -> Pass {
    Pass {
        peak: Some(Bytes(peak)),
        ..Pass::default()
    }
}

fn refused() -> Verdict {
    Verdict::Fails {
        limit: Limit::Memory,
        phase: None,
        reason: "it did not fit".to_owned(),
    }
}

/// Runs a search to its end on a memory function, holding it to the rules at each step; the sizes that were tried.
fn drive(search: &mut Search<'_>, need: &dyn Fn(u32) -> u64) -> Vec<u32> {
    let (budget, mut tried) = (search.budget.0, Vec::new());
    while let Some(size) = search.next() {
        let found = search.found();
        assert!(
            found.fails.is_none_or(|fails| size < fails.size),
            "{size} of {tried:?}"
        );
        assert!(
            found.fits.is_none_or(|fits| size > fits.size),
            "{size} of {tried:?}"
        );
        assert!(size == search.sizes.most || size.is_multiple_of(search.sizes.step));
        tried.push(size);
        assert!(tried.len() <= MOST_TRIALS, "{tried:?}");
        let fits = need(size) <= budget;
        search.tell(
            size,
            if fits {
                Verdict::Fits(pass(need(size)))
            } else {
                refused()
            },
        );
    }
    let found = search.found();
    assert!(
        found.fits.is_none_or(|fits| need(fits.size) <= budget),
        "{found:?}"
    );
    assert!(
        found
            .fails
            .as_ref()
            .is_none_or(|fails| need(fails.size) > budget),
        "{found:?}"
    );
    tried
}

/// The largest size that fits.
fn truth(sizes: Sizes, budget: u64, need: &dyn Fn(u32) -> u64) -> Option<u32> {
    let all =
        (1..=sizes.most.div_ceil(sizes.step)).map(|place| (place * sizes.step).min(sizes.most));
    all.take_while(|size| need(*size) <= budget).last()
}

fn is_exact(found: &Found, sizes: Sizes, budget: u64, need: &dyn Fn(u32) -> u64) -> bool {
    found.complete && found.fits.map(|fits| fits.size) == truth(sizes, budget, need)
}

#[test]
fn a_good_prediction_closes_in_three() {
    let need = |size: u32| 700_000_000 + 114_688 * u64::from(size);
    let predict = |size: u32| Bytes(650_000_000 + 120_000 * u64::from(size));
    let mut search = Search::new(Kind::Context, CONTEXT, 29_000, Bytes(4 << 30), &predict);
    let tried = drive(&mut search, &need);
    let found = search.found();
    assert!(is_exact(&found, CONTEXT, 4 << 30, &need));
    assert_eq!(found.limited_by, Some(Limit::Memory));
    assert!(tried.len() <= 4, "{tried:?}");
    let (fits, fails) = (found.fits.unwrap().size, found.fails.unwrap().size);
    assert_eq!(fails - fits, 64);
}

#[test]
fn the_positions_of_a_model_are_a_ceiling_of_their_own() {
    let sizes = Sizes {
        most: 1000,
        ..CONTEXT
    };
    let predict = |size: u32| Bytes(u64::from(size));
    let mut search = Search::new(Kind::Context, sizes, 1000, Bytes(1 << 30), &predict);
    assert_eq!(drive(&mut search, &|size| u64::from(size)), [640, 1000]);
    let found = search.found();
    assert_eq!(
        (
            found.fits.unwrap().size,
            found.fails,
            found.limited_by,
            found.complete
        ),
        (1000, None, Some(Limit::Positions), true)
    );
}

#[test]
fn nothing_that_fits_is_found_out_too() {
    let predict = |size: u32| Bytes(u64::from(size));
    let mut search = Search::new(Kind::Batch, BATCH, 12, Bytes(1 << 30), &predict);
    let tried = drive(&mut search, &|_| 2 << 30);
    let found = search.found();
    assert_eq!((found.fits, found.complete), (None, true), "{tried:?}");
    assert_eq!(found.fails.unwrap().size, 1);
}

#[test]
fn a_remembered_failure_is_not_tried_again() {
    let need = |size: u32| 100 * u64::from(size);
    let predict = |size: u32| Bytes(100 * u64::from(size));
    let remembered = Failure {
        size: 301,
        limit: Limit::Memory,
        phase: None,
        reason: "it did not fit".to_owned(),
        remembered_from: Some("2026-01-01T00:00:00Z".to_owned()),
    };
    for start in [250, 300, 500] {
        let mut search = Search::new(Kind::Batch, BATCH, start, Bytes(30_050), &predict)
            .with_failure(Some(remembered.clone()));
        let tried = drive(&mut search, &need);
        assert!(
            tried.len() <= 3 && tried.iter().all(|size| *size <= 300),
            "{tried:?}"
        );
        let found = search.found();
        assert!(found.complete && found.fits.unwrap().size == 300);
        assert_eq!(found.fails, Some(remembered.clone()));
    }
}

#[test]
fn the_margin_is_kept_and_named() {
    let need = |size: u32| 1_000_000 + 1_000 * u64::from(size);
    let predict = |size: u32| Bytes(900_000 + 1_500 * u64::from(size));
    let (budget, margin) = (Bytes(2_000_000), Bytes(1_900_000));
    let mut search =
        Search::new(Kind::Batch, BATCH, 600, budget, &predict).with_margin(Some(margin));
    let tried = drive(&mut search, &need);
    assert!(
        tried.iter().all(|size| need(*size) <= margin.0),
        "{tried:?}"
    );
    let found = search.found();
    assert_eq!((found.fits.unwrap().size, found.fails), (900, None));
    assert_eq!(
        (found.limited_by, found.complete),
        (Some(Limit::Margin), true)
    );
    let margin = found.margin.unwrap();
    assert_eq!(
        (margin.next, margin.expected),
        (901, Some(Bytes(1_901_000)))
    );
}

#[test]
fn a_cliff_is_an_upper_bound_with_a_name() {
    // From 700 on the driver lends the host's memory: it runs, twenty times slower.
    let predict = |size: u32| Bytes(1_000 * u64::from(size));
    let mut search = Search::new(Kind::Batch, BATCH, 500, Bytes(1_000_000), &predict);
    let mut tried = Vec::new();
    while let Some(size) = search.next() {
        tried.push(size);
        let slow = if size >= 700 { 20 } else { 1 };
        let step = Some(Nanos(u64::from(size) * 100_000 * slow));
        search.tell(
            size,
            Verdict::Fits(Pass {
                step,
                ..pass(1_000 * u64::from(size))
            }),
        );
    }
    let found = search.found();
    assert_eq!(found.limited_by, Some(Limit::ThroughputCliff), "{tried:?}");
    let (fits, fails) = (found.fits.unwrap().size, found.fails.unwrap());
    assert!(
        fits < 700 && fails.size >= 700 && tried.len() <= MOST_TRIALS,
        "{tried:?}"
    );
    assert!(
        fails.reason.contains("more than 3 times"),
        "{}",
        fails.reason
    );
}

#[test]
fn a_size_that_breaks_without_lack_of_memory_is_a_bound_of_that_name() {
    let predict = |size: u32| Bytes(100 * u64::from(size));
    let mut search = Search::new(Kind::Batch, BATCH, 8, Bytes(1_000), &predict);
    while let Some(size) = search.next() {
        let crash = Verdict::Fails {
            limit: Limit::Failure,
            phase: Some(crate::trial::Phase::Decode),
            reason: "the worker was killed".to_owned(),
        };
        let fits = Verdict::Fits(pass(100 * u64::from(size)));
        search.tell(size, if size >= 6 { crash } else { fits });
    }
    let found = search.found();
    assert_eq!(
        (found.fits.unwrap().size, found.limited_by),
        (5, Some(Limit::Failure))
    );
    assert_eq!(found.fails.unwrap().size, 6);
}

#[test]
fn eight_trials_that_close_nothing_are_reported_as_that() {
    let predict = |size: u32| Bytes(u64::from(size));
    let mut search = Search::new(Kind::Batch, BATCH, 60_000, Bytes(1 << 20), &predict);
    // Memory that says nothing of the size until it is used up.
    let need = |size: u32| if size < 7_777 { 5 } else { 2 << 20 };
    assert_eq!(drive(&mut search, &need).len(), MOST_TRIALS);
    let found = search.found();
    assert!(!found.complete);
    let (fits, fails) = (found.fits.unwrap().size, found.fails.unwrap().size);
    assert!(fits < 7_777 && fails >= 7_777, "{fits} {fails}");
}

#[test]
fn affine_memory_takes_four_trials_on_the_mean() {
    let (mut trials, mut runs, mut most) = (0, 0, 0);
    for base in [200_u64, 700, 3000] {
        for per_token in [13_824_u64, 49_152, 114_688] {
            for budget in [4_u64 << 30, 6 << 30].map(|size| size - 1_234_567) {
                for error in [0.8, 0.95, 1.0, 1.05, 1.2] {
                    let need = |size: u32| (base << 20) + per_token * u64::from(size);
                    // Wrong in both terms, as predictions are; the start is shifted by what a row took.
                    let predict = |size: u32| {
                        Bytes(
                            ((base << 20) as f64 + per_token as f64 * error * f64::from(size))
                                as u64,
                        )
                    };
                    let start = (1..=131_072)
                        .rev()
                        .find(|size| predict(*size).0 <= budget)
                        .unwrap();
                    let mut search =
                        Search::new(Kind::Context, CONTEXT, start, Bytes(budget), &predict);
                    let tried = drive(&mut search, &need);
                    assert!(
                        is_exact(&search.found(), CONTEXT, budget, &need),
                        "{tried:?}"
                    );
                    trials += tried.len();
                    most = most.max(tried.len());
                    runs += 1;
                }
            }
        }
    }
    let mean = trials as f64 / f64::from(runs);
    assert!(mean <= 4.0 && most <= 6, "mean {mean}, most {most}");
}

/// A memory function that rises: affine, affine with rounded-up allocations, or with a square term.
fn memory() -> impl Strategy<Value = (u64, u64, u64, u64)> {
    (
        0u64..1 << 30,
        1u64..200_000,
        prop_oneof![Just(1u64), 1u64..64 << 20],
        prop_oneof![Just(0u64), 0u64..40],
    )
}

fn need_of((base, slope, chunk, square): (u64, u64, u64, u64)) -> impl Fn(u32) -> u64 {
    move |size: u32| {
        let size = u64::from(size);
        base + (slope * size).div_ceil(chunk) * chunk + square * size * size
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_bracket_is_true_whatever_memory_does(
        shape in memory(), budget in 1u64..16 << 30, start in 1u32..200_000,
        guessed in memory(), batch in any::<bool>(), most in 1u32..200_000,
    ) {
        let (need, guess) = (need_of(shape), need_of(guessed));
        let predict = |size: u32| Bytes(guess(size));
        let sizes = Sizes { most, ..if batch { BATCH } else { CONTEXT } };
        let kind = if batch { Kind::Batch } else { Kind::Context };
        let mut search = Search::new(kind, sizes, start, Bytes(budget), &predict);
        // It asserts the rules.
        drive(&mut search, &need);
        let found = search.found();
        if found.complete {
            prop_assert!(is_exact(&found, sizes, budget, &need), "{:?}", found);
        }
    }

    #[test]
    fn affine_memory_is_found_exactly(
        base in 0u64..2 << 30, slope in 1_000u64..200_000, room in 0u64..6 << 30,
        error in 0.7f64..1.4, offset in -0.1f64..0.1, batch in any::<bool>(),
    ) {
        let need = |size: u32| base + slope * u64::from(size);
        // A row has shifted the prediction, so that its base errs by a part of the room at most.
        let shifted = base as f64 + room as f64 * offset;
        let predict = |size: u32| Bytes((shifted + slope as f64 * error * f64::from(size)).max(0.0) as u64);
        let sizes = if batch { BATCH } else { CONTEXT };
        let budget = base + room;
        let start = (1..=sizes.most).rev().find(|size| predict(*size).0 <= budget).unwrap_or(1);
        let mut search = Search::new(Kind::Batch, sizes, start, Bytes(budget), &predict);
        let tried = drive(&mut search, &need);
        prop_assert!(is_exact(&search.found(), sizes, budget, &need), "{:?} {:?}", tried, search.found());
    }

    #[test]
    fn what_is_expected_above_the_margin_is_not_tried(
        base in 0u64..1 << 30, slope in 1_000u64..200_000, room in 1u64..4 << 30, error in 0.7f64..1.4,
    ) {
        let need = |size: u32| base + slope * u64::from(size);
        let predict = |size: u32| Bytes((base as f64 + slope as f64 * error * f64::from(size)) as u64);
        let budget = base + room;
        let limit = Bytes(budget / 100 * 95);
        let start = (1..=BATCH.most).rev().find(|size| predict(*size) <= limit).unwrap_or(1);
        let mut search = Search::new(Kind::Batch, BATCH, start, Bytes(budget), &predict).with_margin(Some(limit));
        while let Some(size) = search.next() {
            if let Some(expected) = search.expected(size) {
                prop_assert!(expected <= limit);
            }
            let fits = need(size) <= budget;
            search.tell(size, if fits { Verdict::Fits(pass(need(size))) } else { refused() });
        }
        let found = search.found();
        if let (Some(margin), Some(fits)) = (found.margin, found.fits) {
            prop_assert!(margin.next > fits.size && found.complete && margin.expected.is_some_and(|peak| peak > limit));
        }
    }
}
