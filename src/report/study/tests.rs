use super::*;
use crate::report::fixture::{fixture, repeated_report, studied};
use crate::report::schema::Metric;

/// The study of the fixture's rows after a change.
fn after(change: impl FnOnce(&mut Vec<Row>)) -> Study {
    let mut rows = studied().trials;
    change(&mut rows);
    study(&rows, None, None).unwrap()
}

fn exact(mean: f64) -> Option<Metric> {
    Some(Metric {
        median: mean,
        mean,
        sd: Some(0.0),
        ci95: Some([mean, mean]),
        n: 3,
        samples: Some(vec![mean; 3]),
        quantiles: None,
    })
}

fn words(study: &Study) -> String {
    sentences(study, 4 << 30).join("\n")
}

#[test]
fn pairs_are_found_by_size_and_by_name() {
    let found = after(|_| ());
    let named: Vec<_> = found
        .pairs
        .iter()
        .map(|pair| (pair.basis, pair.moe.model.as_str(), pair.matched))
        .collect();
    assert_eq!(
        named,
        [
            (Basis::Total, "moe-120m-a82m", true),
            (Basis::Active, "moe-295m-a120m", true),
            (Basis::AsPublished, "alchemist-16m", false),
        ]
    );
    insta::assert_snapshot!(words(&found));
}

#[test]
fn the_suite_study_is_four_sizes_of_both_pairs_and_the_published_one() {
    let suite = crate::model::builtin()
        .iter()
        .filter(|spec| spec.suites.iter().any(|suite| suite == "study"));
    let like = studied().trials[0].clone();
    let rows: Vec<Row> = suite
        .map(|spec| {
            let census = crate::model::census(spec);
            Row {
                model: spec.name.clone(),
                id: spec.name.clone(),
                params: Params {
                    total: census.total,
                    active: Some(census.active),
                    active_read: Some(census.active_read),
                },
                ..like.clone()
            }
        })
        .collect();
    let found = study(&rows, None, None).unwrap();
    let named: Vec<String> = found
        .pairs
        .iter()
        .map(|pair| {
            format!(
                "{:?} {} {} {}",
                pair.basis, pair.dense.model, pair.moe.model, pair.matched
            )
        })
        .collect();
    assert_eq!(
        named,
        [
            "Total dense-120m moe-120m-a82m true",
            "Total dense-16m moe-16m-a10m true",
            "Total dense-350m moe-350m-a210m true",
            "Total llama-1b moe-1b-a632m true",
            "Active dense-120m moe-295m-a120m true",
            "Active dense-16m moe-41m-a16m true",
            "Active dense-350m moe-946m-a350m true",
            "Active llama-1b moe-2.8b-a1b true",
            "OneExpert swiglu-124m one-expert-124m true",
            "AsPublished dense-120m alchemist-16m false",
        ]
    );
    let far = found.pairs.iter().filter(|pair| pair.matched);
    assert!(
        far.into_iter()
            .all(|pair| (pair.size_ratio - 1.0).abs() < 0.02)
    );
}

#[test]
fn equal_speeds_are_no_difference() {
    let found = after(|rows| rows[1].decode_tok_s = rows[0].decode_tok_s.clone());
    assert_eq!(
        found.pairs[0].ratio(Quantity::DecodeTokS).unwrap().verdict,
        "no_difference"
    );
    let words = words(&found);
    assert!(
        words.contains("shows no difference in decode speed (ratio 1.00, 95 % interval"),
        "{words}"
    );
}

#[test]
fn the_choice_follows_from_speed_and_memory() {
    let choice_with = |speed: f64, peak: u64, ttft: f64| {
        let found = after(|rows| {
            rows[0].ttft_ms = exact(10.0);
            rows[1].ttft_ms = exact(ttft);
            rows[0].decode_tok_s = exact(100.0);
            rows[0].memory.peak_bytes = Some(1000 << 20);
            rows[1].decode_tok_s = exact(speed);
            rows[1].memory.peak_bytes = Some(peak << 20);
        });
        let text = found.pairs[0].verdict.clone();
        text.rsplit("here ").next().unwrap().to_owned()
    };
    let choice = |speed, peak| choice_with(speed, peak, 10.0);
    assert_eq!(choice(150.0, 1005), "the MoE is the better choice.");
    assert_eq!(choice(150.0, 2000), "the MoE buys speed with memory.");
    assert_eq!(choice(100.5, 1000), "neither is the better choice.");
    assert_eq!(choice(50.0, 500), "the MoE buys memory with speed.");
    assert_eq!(choice(50.0, 1000), "the dense model is the better choice.");
    let waits = "buys speed with time to the first token.";
    assert_eq!(choice_with(150.0, 1000, 20.0), format!("the MoE {waits}"));
    assert_eq!(
        choice_with(50.0, 1000, 5.0),
        format!("the dense model {waits}")
    );
}

#[test]
fn under_a_small_budget_only_one_may_fit() {
    let found = after(|_| ());
    let text = &found.pairs[1].verdict;
    assert!(
        text.contains("under 4.00 GiB only dense-120m fits: moe-295m-a120m needs 4.71 GiB"),
        "{text}"
    );
    let ratio = found.pairs[1].ratio(Quantity::DecodeTokS).unwrap();
    assert_eq!(
        (ratio.ratio, ratio.verdict.as_str()),
        (None, "not_comparable")
    );
    assert!(ratio.not_measured["ratio"].contains("does not fit"));
    assert_eq!(
        (found.pairs[1].dense.fits, found.pairs[1].moe.fits),
        (Some(true), Some(false))
    );
}

#[test]
fn a_device_that_was_throttled_is_told() {
    let found = after(|rows| {
        rows[1]
            .warnings
            .push("the device was throttled by heat".into())
    });
    let text = &found.pairs[0].verdict;
    assert!(
        text.ends_with("; the device was throttled while moe-120m-a82m ran."),
        "{text}"
    );
}

#[test]
fn a_cost_with_energy_and_one_without_are_not_compared() {
    let found = after(|rows| {
        if let Some(cost) = &mut rows[1].cost {
            cost.watts = Some(40.0);
        }
    });
    let cost = found.pairs[0]
        .ratio(Quantity::CostPerMillionTokens)
        .unwrap();
    assert_eq!(
        (cost.ratio, cost.verdict.as_str()),
        (None, "not_comparable")
    );
    assert!(cost.not_measured["ratio"].contains("dense-120m is without energy"));
}

#[test]
fn a_pair_in_two_precisions_says_so() {
    let found = after(|rows| rows[1].precision = "int4".into());
    assert!(words(&found).contains("the MoE in int4 and the dense model in fp32"));
}

#[test]
fn rows_of_other_settings_pending_ones_and_steps_of_a_ladder_are_no_pair() {
    for change in [
        |row: &mut Row| row.form = "plain".to_owned(),
        |row: &mut Row| row.batch = 2,
        |row: &mut Row| row.prompt_tokens = 64,
        |row: &mut Row| row.status = "pending".to_owned(),
        |row: &mut Row| row.id.push_str("/kv-copied"),
    ] {
        let found = after(|rows| change(&mut rows[1]));
        assert!(found.pairs.iter().all(|pair| pair.basis != Basis::Total));
    }
    assert_eq!(study(&[], None, None), None);
}

#[test]
fn of_models_that_are_nowhere_equal_the_nearest_are_told_as_not_matched() {
    let found = after(|rows| {
        rows[1].model = "other-moe".into();
        rows[1].params.total = 150_000_000;
    });
    let pair = &found.pairs[0];
    assert_eq!((pair.basis, pair.matched), (Basis::Total, false));
    let why = "21 % apart, the vocabulary of other-moe is not known";
    assert_eq!(pair.mismatch.as_deref(), Some(why));
    assert!(!pair.verdict.contains("here "), "{}", pair.verdict);
}

#[test]
fn models_of_equal_size_are_not_matched_where_a_vocabulary_is_not_known() {
    let of = |models: [(usize, &str); 2]| {
        let found = after(|rows| {
            for (place, name) in models {
                rows[place].model = name.into();
            }
        });
        let pair = &found.pairs[0];
        assert_eq!((pair.basis, pair.matched), (Basis::Total, false));
        assert!(!pair.verdict.contains("here "), "{}", pair.verdict);
        pair.mismatch.clone().unwrap()
    };
    assert_eq!(
        of([(0, "dense-120m"), (1, "my-moe")]),
        "the vocabulary of my-moe is not known"
    );
    assert_eq!(
        of([(0, "my-dense"), (1, "moe-120m-a82m")]),
        "the vocabulary of my-dense is not known"
    );
    assert_eq!(
        of([(0, "my-dense"), (1, "my-moe")]),
        "neither vocabulary is known"
    );
}

/// A row of a run with weights in main memory.
fn offloaded(row: &mut Row, asked: &str, mapped_bytes: u64) {
    row.offload = Some(crate::report::schema::OffloadRow {
        asked: asked.to_owned(),
        resident_bytes: 1 << 20,
        mapped_bytes,
        mapped_tensors: 1,
        tensors: 2,
        link_bytes_per_step: 0,
        link_bytes_per_prompt: 0,
        predicted_decode_tok_s: None,
        step_link_share: None,
        prompt_link_share: None,
        unified_memory: false,
        prediction_basis: None,
        elsewhere: Vec::new(),
        ways: None,
        refused: None,
    });
}

#[test]
fn a_pair_with_weights_in_main_memory_says_so_and_is_none_with_a_row_without() {
    let both = after(|rows| {
        offloaded(&mut rows[0], "all", 300 << 20);
        offloaded(&mut rows[1], "all", 400 << 20);
    });
    let pair = &both.pairs[0];
    assert_eq!(pair.offload.as_deref(), Some("all"));
    assert_eq!(
        (pair.dense.pinned_bytes, pair.moe.pinned_bytes),
        (Some(300 << 20), Some(400 << 20))
    );
    let told = "with weights in main memory (--offload all: 400 MiB of the MoE's and 300 MiB of the dense model's)";
    assert!(pair.verdict.contains(told), "{}", pair.verdict);
    let one = after(|rows| offloaded(&mut rows[1], "all", 400 << 20));
    assert!(one.pairs.iter().all(|pair| pair.basis != Basis::Total));
    // One that ended before it was placed has it in its name.
    let early = after(|rows| {
        offloaded(&mut rows[0], "auto", 300 << 20);
        rows[1].id.push_str("/off-auto");
    });
    assert_eq!(early.pairs[0].moe.pinned_bytes, None);
    assert!(early.pairs[0].verdict.contains("(--offload auto)"));
    assert!(after(|_| ()).pairs[0].offload.is_none());
}

#[test]
fn the_studys_formulas_disagree_on_what_is_cheap() {
    let report = studied();
    let prices = &report.study.as_ref().unwrap().prices;
    let of =
        |model: usize, formula: usize| prices[model].prices[formula].per_million_tokens.unwrap();
    // The second model is faster: cheaper by ours and by the hour, dearer by the published JSON's.
    assert!(prices[1].decode_tok_s > prices[0].decode_tok_s);
    assert!(of(1, 0) < of(0, 0) && of(1, 1) > of(0, 1) && of(1, 2) < of(0, 2));
    let published = |tok_s: f64| {
        (
            tok_s / 1000.0 * 0.0004 * 60.0,
            3.06 / (tok_s * 3600.0) * 1e6,
        )
    };
    let (json, hourly) = published(prices[0].decode_tok_s);
    assert!((of(0, 1) - json).abs() < 1e-12 && (of(0, 2) - hourly).abs() < 1e-9);
    // The study's own figures: 161.56 tok/s is told to cost 0.0039.
    assert!((published(161.56).0 - 0.0039).abs() < 5e-5);
    assert!(after(|_| ()).prices.is_empty());
}

#[test]
fn intervals_are_of_runs_where_there_are_several() {
    let report = repeated_report();
    let found = report.study.unwrap();
    assert_eq!(found.intervals_of, "runs");
    let peak = found.pairs[0].ratio(Quantity::PeakBytes).unwrap();
    // Every run took the same: an interval of no width.
    assert_eq!(peak.ci95.map(|[low, high]| low == high), Some(true));
    let once = study(&fixture().trials, None, None).unwrap();
    assert_eq!(once.intervals_of, "repetitions");
    let peak = once.pairs[0].ratio(Quantity::PeakBytes).unwrap();
    assert_eq!(peak.ci95, None);
    assert!(peak.not_measured["ci95"].contains("one reading for each trial"));
}

#[test]
fn a_study_survives_the_round_trip() {
    let report = studied();
    let text = crate::report::to_json(&report).unwrap();
    assert_eq!(crate::report::from_json(&text).unwrap(), report);
}

proptest::proptest! {
    #[test]
    fn a_ratio_is_inside_its_interval_and_a_difference_is_outside_of_it(
        dense in proptest::collection::vec(50.0..100.0_f64, 2..7), moe in proptest::collection::vec(50.0..100.0_f64, 2..7),
    ) {
        let metric = |samples: &[f64]| {
            let mean = samples.iter().sum::<f64>() / samples.len() as f64;
            Some(Metric { samples: Some(samples.to_vec()), n: samples.len() as u64, ..exact(mean).unwrap() })
        };
        let found = after(|rows| {
            rows[0].decode_tok_s = metric(&dense);
            rows[1].decode_tok_s = metric(&moe);
        });
        let decode = found.pairs[0].ratio(Quantity::DecodeTokS).unwrap();
        let (ratio, [low, high]) = (decode.ratio.unwrap(), decode.ci95.unwrap());
        // Of few and skewed samples a percentile interval may miss the ratio by a hair of its width.
        let slack = (high - low) * 0.25 + 1e-9;
        proptest::prop_assert!(low <= high && low - slack <= ratio && ratio <= high + slack, "{ratio} {low} {high}");
        if low <= 1.0 && 1.0 <= high {
            proptest::prop_assert_eq!(&decode.verdict, "no_difference");
        }
        if decode.verdict == "faster" {
            proptest::prop_assert!(low > 1.0);
        }
    }
}

#[test]
fn an_interval_is_of_runs_only_where_both_models_have_several() {
    let rows = studied().trials;
    let mut repeated = Repeatability::new(3, &rows);
    for (run, factor) in [(1, 1.0), (2, 1.01), (3, 1.05)] {
        for (place, row) in rows.iter().enumerate() {
            let mut row = row.clone();
            if let Some(speed) = &mut row.decode_tok_s {
                speed.mean *= factor;
            }
            // The mixture of equal total parameters runs to the end once only.
            if place == 1 && run > 1 {
                row.status = "crashed".into();
            }
            repeated.record(place, run, &row);
        }
    }
    let found = study(&rows, Some(&repeated), None).unwrap();
    assert_eq!(found.intervals_of, "mixed");
    let speed = |basis: Basis| {
        let pair = found.pairs.iter().find(|pair| pair.basis == basis);
        pair.unwrap().ratio(Quantity::DecodeTokS).unwrap()
    };
    let (once, several) = (speed(Basis::Total), speed(Basis::AsPublished));
    assert_eq!(once.intervals_of.as_deref(), Some("repetitions"));
    assert_eq!(several.intervals_of.as_deref(), Some("runs"));
    // As if the suite had run once: not the mean of the dense model's runs over the one of the other.
    let alone = study(&rows, None, None).unwrap();
    let alone = alone.pairs[0].ratio(Quantity::DecodeTokS).unwrap();
    assert_eq!((once.ratio, once.ci95), (alone.ratio, alone.ci95));
    assert_eq!(alone.intervals_of.as_deref(), Some("repetitions"));
}
