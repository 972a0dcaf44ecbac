use super::*;
use crate::report::fixture;
use crate::report::{CostInputs, Params, row};
use crate::trial::{Arena, Outcome, Phase, Trial};
use crate::units::Bytes;

fn study_figures() -> Run {
    let text = include_str!("../../../../benchmarks/published/study-4070ti.json");
    Run::read("study.json", text).unwrap()
}

fn params() -> Params {
    let census = model::census(model::find("alchemist-16m").unwrap());
    Params {
        total: census.total,
        active: Some(census.active),
        active_read: Some(census.active_read),
    }
}

/// Five repetitions of ten passes of 40 ms each, and the row that decodes in about 10 ms.
fn its_way(change: impl FnOnce(&mut TrialResult)) -> Reproduced {
    let mut result = fixture::result("alchemist-16m", 10);
    result.repetitions = vec![fixture::repetition(39, &[40; 9]); 5];
    change(&mut result);
    let of = |result: &TrialResult| {
        let inputs = CostInputs::default();
        row(result, params(), Bytes(60 << 20), None, &inputs, None)
    };
    let proper = of(&fixture::result("alchemist-16m", 128));
    reproduced(&result, &of(&result), &proper, Some(&study_figures()))
}

fn figure(model: &Reproduced, metric: PublishedMetric) -> &Beside {
    let mut figures = model.figures.iter();
    figures.find(|figure| figure.metric == metric).unwrap()
}

#[test]
fn ten_tokens_are_its_first_and_every_flaw_is_told() {
    let found = its_way(|_| ());
    assert_eq!(found.published_row.as_deref(), Some("MoE (raw generation)"));
    let speed = figure(&found, PublishedMetric::DecodeTokS);
    assert_eq!(speed.reproduced, Some(25.0));
    assert!((speed.published.unwrap() - 100.317).abs() < 0.001);
    let first = figure(&found, PublishedMetric::FirstTokenMs);
    assert_eq!(first.reproduced, Some(400.0));
    assert!(first.measured.unwrap() < 200.0);
    let effect = first.effect.as_deref().unwrap();
    assert!(
        effect.starts_with("it is the time of 10 tokens: 3."),
        "{effect}"
    );
    let active = figure(&found, PublishedMetric::ActiveParams);
    assert_eq!(
        (active.published, active.reproduced),
        (Some(16_069_382.0), Some(16_069_382.0))
    );
    assert!(
        active
            .effect
            .as_deref()
            .unwrap()
            .contains("nothing is sparse")
    );
    // One of its formulas rises with speed and the other falls.
    let json = figure(&found, PublishedMetric::CostStudyJson);
    let hourly = figure(&found, PublishedMetric::CostStudyHourly);
    assert!((json.reproduced.unwrap() - 25.0 / 1000.0 * 0.0004 * 60.0).abs() < 1e-12);
    assert!(json.ratio.unwrap() < 1.0 && hourly.ratio.unwrap() > 1.0);
    assert!(hourly.published.is_none() && hourly.not_measured.contains_key("published"));
}

#[test]
fn memory_is_what_the_arena_had_in_use_with_weights_and_cache_or_a_reason() {
    let memory = |found: &Reproduced| figure(found, PublishedMetric::MemoryBytes).clone();
    let on_cpu = memory(&its_way(|_| ()));
    assert_eq!((on_cpu.reproduced, &on_cpu.effect), (None, &None));
    assert!(on_cpu.not_measured["reproduced"].contains("on the CPU"));

    let on_gpu = memory(&its_way(|result| {
        result.trial = Trial {
            device: Device::Cuda(0),
            ..result.trial.clone()
        };
        for reading in &mut result.memory {
            reading.device_process = Some(Bytes(600 << 20));
            let arena = Arena {
                reserved: Bytes(9 << 20),
                live: Bytes(1 << 20),
                live_peak: Bytes(5 << 20),
            };
            reading.arena =
                matches!(reading.phase, Phase::Prefill | Phase::Decode).then_some(arena);
        }
    }));
    // Weights as loaded, the cache, and the five in use at once.
    assert_eq!(on_gpu.reproduced, Some(f64::from((500 + 27 + 5) << 20)));
    assert!(on_gpu.effect.unwrap().starts_with("live tensors only"));
}

#[test]
fn what_did_not_run_has_a_reason_and_no_number() {
    let found = its_way(|result| {
        result.repetitions.clear();
        result.outcome = Outcome::TimedOut {
            phase: Phase::Prefill,
            reason: "it took too long".into(),
        };
    });
    assert_eq!(found.status, "timed_out");
    let speed = figure(&found, PublishedMetric::DecodeTokS);
    assert_eq!(
        (speed.reproduced, speed.ratio, &speed.effect),
        (None, None, &None)
    );
    assert_eq!(speed.not_measured["reproduced"], "it took too long");
    assert!(speed.measured.is_some());
}

#[test]
fn a_model_that_the_study_has_not_is_measured_all_the_same() {
    let result = fixture::result("tiny-gpt2", 10);
    let own = row(
        &result,
        fixture::params(5, 5),
        Bytes(1),
        None,
        &CostInputs::default(),
        None,
    );
    let found = reproduced(&result, &own, &own, Some(&study_figures()));
    assert_eq!(found.published_row, None);
    let speed = figure(&found, PublishedMetric::DecodeTokS);
    assert!(speed.published.is_none() && speed.reproduced.is_some());
    // Nothing is generated beyond the model's positions.
    let positions = model::find("tiny-gpt2").unwrap().max_positions;
    let row = Row {
        prompt_tokens: positions - 3,
        ..own
    };
    assert_eq!(to_reproduce(&row).gen_tokens, 3);
}

#[test]
fn a_study_of_no_pairs_keeps_what_was_measured_its_way() {
    assert_eq!(as_published(None, &[]), None);
    let study = as_published(None, &[its_way(|_| ())]).unwrap();
    assert!(study.asked && study.pairs.is_empty());
    assert_eq!(study.as_published.len(), 1);
}
