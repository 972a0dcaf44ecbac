//! The search against machines of every kind.

use super::*;
use proptest::prelude::*;

const BUDGET: Bytes = Bytes(1000);

fn name(place: usize) -> TuningName {
    TuningName::all().nth(place).unwrap()
}

fn ok(speed: f64, peak: u64) -> Ran {
    Ran::Ok {
        decode_tok_s: Some(speed),
        peak: Some(Bytes(peak)),
    }
}

/// A machine with a factor for each tuning and memory on top of 500.
fn machine(effects: &[(usize, f64, u64)]) -> impl Fn(&Ask) -> Ran {
    let effects: Vec<(TuningName, f64, u64)> = effects
        .iter()
        .map(|(place, factor, bytes)| (name(*place), *factor, *bytes))
        .collect();
    move |ask| {
        let on = effects
            .iter()
            .filter(|(name, _, _)| ask.tuning.contains(name));
        let (mut speed, mut peak) = (100.0, 500);
        for (_, factor, bytes) in on {
            speed *= factor;
            peak += bytes;
        }
        ok(speed, peak)
    }
}

/// Runs a search to its end: what was asked, and what was found.
fn search(open: &[usize], mut run: impl FnMut(&Ask) -> Ran) -> (Vec<Ask>, Found) {
    let open = open.iter().map(|place| name(*place)).collect();
    let mut search = Search::new(open, BUDGET);
    let mut asked = Vec::new();
    while let Some(ask) = search.next() {
        search.tell(run(&ask));
        asked.push(ask);
        assert!(asked.len() < 100, "it never ends");
    }
    (asked, search.found())
}

fn kept(found: &Found) -> Vec<TuningName> {
    let tried = found.tried.iter().filter(|tried| tried.kept);
    let kept: Vec<TuningName> = tried.map(|tried| tried.name).collect();
    assert_eq!(kept, found.kept);
    kept
}

#[test]
fn what_is_faster_is_kept_and_what_follows_is_tried_on_top_of_it() {
    let (asked, found) = search(
        &[0, 1, 2],
        machine(&[(0, 1.5, 100), (1, 0.9, 0), (2, 1.1, 50)]),
    );
    assert_eq!(kept(&found), [name(0), name(2)]);
    let tunings: Vec<Vec<TuningName>> = asked.into_iter().map(|ask| ask.tuning).collect();
    let (a, b, c) = (name(0), name(1), name(2));
    let expected: [&[TuningName]; 6] = [&[], &[a], &[], &[a, b], &[a, c], &[a]];
    assert_eq!(tunings, expected);
    assert_eq!(found.peak, Some(Bytes(650)));
    let ratios: Vec<f64> = found.tried.iter().filter_map(Tried::ratio).collect();
    assert_eq!(ratios.len(), 3);
    for (ratio, expected) in ratios.iter().zip([1.5, 0.9, 1.1]) {
        assert!((ratio - expected).abs() < 1e-9, "{ratios:?}");
    }
    assert_eq!(found.tried[1].reason, "decode was slower");
}

#[test]
fn less_than_two_percent_is_not_enough() {
    let (asked, found) = search(&[0], machine(&[(0, 1.015, 0)]));
    assert_eq!((kept(&found), asked.len()), (vec![], 2));
    assert_eq!(
        found.tried[0].reason,
        "decode was not faster by more than 2 %"
    );
}

#[test]
fn a_machine_that_was_slow_for_a_moment_keeps_nothing() {
    let speeds = [50.0, 100.0, 100.0];
    let mut turn = speeds.iter();
    let (_, found) = search(&[0], |_| ok(*turn.next().unwrap(), 1));
    assert_eq!(kept(&found), []);
    let tried = &found.tried[0];
    assert_eq!((tried.base_tok_s, tried.ratio()), (100.0, Some(1.0)));
    assert!(
        tried.reason.ends_with("in a second trial without it"),
        "{tried:?}"
    );
}

#[test]
fn what_takes_more_than_the_budget_is_not_kept_however_fast() {
    let (_, found) = search(&[0, 1], machine(&[(0, 2.0, 501), (1, 1.5, 500)]));
    assert_eq!(kept(&found), [name(1)]);
    let tried = &found.tried[0];
    assert_eq!(tried.reason, "it took 1 MiB more than the budget");
    assert_eq!(
        (tried.decode_tok_s, tried.peak),
        (Some(200.0), Some(Bytes(1001)))
    );
}

#[test]
fn a_trial_that_fails_costs_its_tuning_and_not_the_search() {
    let (_, found) = search(&[0, 1], |ask| {
        if ask.tries == Some(name(0)) {
            Ran::Failed("the worker crashed".into())
        } else {
            machine(&[(1, 1.5, 0)])(ask)
        }
    });
    assert_eq!(kept(&found), [name(1)]);
    assert_eq!(found.tried[0].reason, "the worker crashed");
    assert_eq!(found.tried[0].ratio(), None);
}

#[test]
fn without_a_first_measurement_nothing_is_tried() {
    let unmeasured = Ran::Ok {
        decode_tok_s: None,
        peak: None,
    };
    for (first, cause) in [
        (Ran::Failed("memory was refused".into()), "was refused"),
        (unmeasured, "no decode step was timed"),
        (ok(f64::NAN, 1), "no decode step was timed"),
        (ok(10.0, 1001), "more than the budget"),
    ] {
        let (asked, found) = search(&[0, 1], |_| first.clone());
        assert_eq!(asked.len(), 1);
        assert!(found.tried.is_empty() && found.kept.is_empty());
        let note = found.note.unwrap();
        assert!(note.contains(cause), "{note}");
    }
    let (asked, found) = search(&[], |_| ok(1.0, 1));
    assert_eq!((asked.len(), found), (0, Found::default()));
}

#[test]
fn a_second_measurement_that_fails_confirms_nothing() {
    let mut turn = 0;
    let (_, found) = search(&[0], |ask| {
        turn += 1;
        match turn {
            3 => Ran::Failed("it hung".into()),
            _ => machine(&[(0, 3.0, 0)])(ask),
        }
    });
    assert_eq!(kept(&found), []);
    assert!(found.tried[0].reason.contains("it hung"));
}

fn ran() -> impl Strategy<Value = Ran> {
    let spoken = (1.0_f64..1000.0, proptest::option::of(0_u64..1500));
    prop_oneof![
        8 => spoken.prop_map(|(speed, peak)| Ran::Ok {
            decode_tok_s: Some(speed),
            peak: peak.map(Bytes),
        }),
        1 => Just(Ran::Failed("it failed".into())),
        1 => Just(Ran::Ok { decode_tok_s: None, peak: None }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever a machine says: the search ends, each is tried once, and what is kept was faster than every measurement it was
    /// held against, inside the budget.
    #[test]
    fn only_what_won_is_kept(count in 0_usize..6, answers in proptest::collection::vec(ran(), 20)) {
        let open: Vec<usize> = (0..count).collect();
        let mut told: Vec<(Ask, Ran)> = Vec::new();
        let (asked, found) = search(&open, |ask| {
            let ran = answers[told.len() % answers.len()].clone();
            told.push((ask.clone(), ran.clone()));
            ran
        });
        prop_assert!(asked.len() <= 1 + 2 * count);
        let tried: Vec<TuningName> = found.tried.iter().map(|tried| tried.name).collect();
        let all: Vec<TuningName> = open.iter().map(|place| name(*place)).collect();
        prop_assert!(tried == all || (tried.is_empty() && found.note.is_some()));
        for tried in &found.tried {
            prop_assert!(!tried.reason.is_empty() && tried.base_tok_s > 0.0);
        }
        for tried in found.tried.iter().filter(|tried| tried.kept) {
            prop_assert!(tried.ratio().is_some_and(|ratio| ratio > GAIN));
            prop_assert!(tried.peak.is_none_or(|peak| peak <= BUDGET));
            let at = told.iter().position(|(ask, _)| ask.tries == Some(tried.name)).unwrap();
            // The measurement after it is the one without it.
            let (again, ran) = &told[at + 1];
            prop_assert!(again.tries.is_none() && !again.tuning.contains(&tried.name));
            let Ran::Ok { decode_tok_s: Some(speed), .. } = ran else {
                return Err(TestCaseError::fail("kept without a second measurement"));
            };
            prop_assert!(tried.decode_tok_s.is_some_and(|with| with > GAIN * speed));
        }
        prop_assert_eq!(kept(&found), found.kept.clone());
    }
}
