//! One trial to one row of the result. Every figure that is missing gets its reason here.

use super::cost::{CostInputs, cost};
use super::ladder::step;
use super::schema::{LlamaBench, MemoryRow, Metric, Params, Row, Steady};
use super::{checks, energy, memory, metrics, offload, paging, positions, state, tuning, warnings};
use crate::model::foreign::NO_DECODER;
use crate::stats;
use crate::trial::{
    Device, Float, Form, KvCache, Outcome, Trial, TrialResult, WarmthEnd, WarmthFacts,
};
use crate::units::{Bytes, Nanos};
use std::collections::BTreeMap;

/// The row of a trial that has not run yet.
pub fn pending_row(
    trial: &Trial,
    params: Params,
    weight_bytes: Bytes,
    predicted_peak: Option<Bytes>,
) -> Row {
    let memory = memory::planned(trial.budget, predicted_peak);
    let mut row = frame(trial, params, weight_bytes, memory);
    let fields = [
        "tuning",
        "limits",
        "load_ms",
        "ttft_ms",
        "prefill_tok_s",
        "decode_tok_s",
        "itl_ms",
        "placement",
        "outside_run_share",
        "memory",
        "paging",
        "energy",
        "device_state",
        "cost",
        "check",
        "decode_check",
        "fp32_difference",
        "wall_s",
        "test_time",
        "avg_ns",
        "stddev_ns",
        "avg_ts",
        "stddev_ts",
    ];
    for field in fields {
        row.not_measured
            .insert(field.to_owned(), "the trial has not run yet".to_owned());
    }
    if trial.pass.is_some() {
        for field in ["latency_ms", "items_s", "output_check"] {
            row.not_measured
                .insert(field.to_owned(), "the trial has not run yet".to_owned());
        }
    }
    row
}

/// The row of a trial that has ended, however it ended.
pub fn row(
    result: &TrialResult,
    params: Params,
    weight_bytes: Bytes,
    predicted_peak: Option<Bytes>,
    cost_inputs: &CostInputs,
    test_time: Option<String>,
) -> Row {
    let (trial, all) = (&result.trial, result.repetitions.as_slice());
    // What is no decoder has passes and no tokens.
    let (timed, passes) = match trial.pass {
        None => (all, &[][..]),
        Some(_) => (&[][..], all),
    };
    let decode = metrics::decode_tok_s(trial, timed);
    let energy = energy::energy(result).ok().map(|(energy, _)| energy);
    let measured = energy.as_ref().map(energy::power);
    let price = decode
        .as_ref()
        .and_then(|speed| cost(speed.mean, cost_inputs, measured));
    let memory = memory::measured(result, predicted_peak);
    let row = Row {
        status: result.outcome.status().to_owned(),
        reason: result.outcome.reason().map(str::to_owned),
        failed_phase: failed_phase(&result.outcome),
        failed_bytes: failed_bytes(&result.outcome),
        stderr_tail: stderr_tail(&result.outcome),
        load_ms: result
            .load
            .as_ref()
            .and_then(|facts| metrics::load_ms(facts.session)),
        ttft_ms: metrics::ttft_ms(timed),
        prefill_tok_s: metrics::prefill_tok_s(trial, timed),
        decode_tok_s: decode,
        itl_ms: metrics::itl_ms(timed),
        latency_ms: metrics::latency_ms(passes),
        items_s: metrics::items_s(trial, passes),
        output_check: result.output_check.as_ref().map(checks::outputs),
        itl_by_position: positions::itl_by_position(trial, timed),
        outside_run_share: metrics::outside_run_share(timed),
        steady: result.warmth.as_ref().map(steady),
        energy,
        device_state: state::device_state(result).ok().map(|(state, _)| state),
        cost: price,
        check: result.check.as_ref().map(checks::check),
        decode_check: checks::decode_check(result),
        fp32_difference: checks::fp32_difference(result),
        router_check: checks::router_check(result),
        first_ids: result.first_ids.clone(),
        warnings: warnings::warnings(result, &memory),
        wall_s: result.wall.map(Nanos::as_secs_f64),
        offload: offload::of(result),
        paging: paging::row(result),
        kv_mode: result.load.as_ref().map(|facts| facts.kv_mode.clone()),
        placement: result
            .load
            .as_ref()
            .and_then(|facts| facts.placement.clone()),
        ..frame(trial, params, weight_bytes, memory)
    };
    let not_captured = result
        .load
        .as_ref()
        .is_some_and(|load| load.not_captured.is_some());
    let row = Row {
        cuda_graph: row.cuda_graph.map(|graph| graph && !not_captured),
        ..row
    };
    let row = with_llama_bench(row, result, test_time);
    with_reasons(row, result)
}

/// How the warm-up ended.
fn steady(facts: &WarmthFacts) -> Steady {
    Steady {
        repetitions: facts.repetitions,
        reached: facts.end == WarmthEnd::Steady,
        difference: facts.difference,
        tolerance: facts.tolerance,
        ended_by: facts.end.to_string(),
    }
}

/// What is known of a row before its trial runs.
fn frame(trial: &Trial, params: Params, weight_bytes: Bytes, memory: MemoryRow) -> Row {
    Row {
        id: trial.id.clone(),
        model: trial.model.clone(),
        form: trial.form.to_string(),
        precision: trial.precision.to_string(),
        kv_cache_type: trial.kv_cache.to_string(),
        device: trial.device.to_string(),
        batch: trial.batch,
        prompt_tokens: trial.prompt_tokens,
        gen_tokens: trial.gen_tokens,
        repetitions: trial.repetitions,
        warmup: (!trial.steady).then_some(trial.warmup),
        // A cache that grows changes shape with every token, and a graph cannot.
        cuda_graph: Some(
            trial.cuda_graph && trial.form == Form::Fused && trial.device != Device::Cpu,
        ),
        steady: None,
        tuning: None,
        kv_capacity: Some(trial.context()),
        kv_mode: None,
        foreign: None,
        placement: None,
        status: "pending".to_owned(),
        reason: None,
        failed_phase: None,
        failed_bytes: None,
        stderr_tail: None,
        llama_bench: llama_bench(trial, &params, weight_bytes),
        params,
        load_ms: None,
        ttft_ms: None,
        prefill_tok_s: None,
        decode_tok_s: None,
        itl_ms: None,
        itl_by_position: Vec::new(),
        latency_ms: None,
        items_s: None,
        dims: trial.pass.as_ref().map(|pass| pass.dims.clone()),
        output_check: None,
        outside_run_share: None,
        memory,
        limits: None,
        offload: None,
        paging: None,
        energy: None,
        device_state: None,
        cost: None,
        check: None,
        decode_check: None,
        fp32_difference: None,
        router_check: None,
        first_ids: Vec::new(),
        warnings: Vec::new(),
        not_measured: BTreeMap::new(),
        wall_s: None,
    }
}

/// A row's form, precision and, where they are not as usual, KV cache and step of a ladder: what of its model it ran.
pub fn variant(row: &Row) -> String {
    let mut variant = format!("{} {}", row.form, row.precision);
    if row.kv_cache_type != "float" {
        variant += &format!(" (KV cache {})", row.kv_cache_type);
    }
    if let Some(step) = step(row) {
        variant += &format!(" ({step})");
    }
    variant
}

/// llama-bench's fields, as far as they are known before the trial.
fn llama_bench(trial: &Trial, params: &Params, weight_bytes: Bytes) -> LlamaBench {
    let cache = match (trial.kv_cache, trial.numerics().compute()) {
        (KvCache::Float, Float::Fp32) => "f32",
        (KvCache::Float, Float::Fp16) => "f16",
        // With one scale for all of it, unlike llama.cpp's q8_0, which has one for each 32.
        (KvCache::Int8, _) => "i8",
    };
    LlamaBench {
        test: match &trial.pass {
            Some(pass) => pass.name(),
            None => format!("pp{}+tg{}", trial.prompt_tokens, trial.gen_tokens),
        },
        model_type: trial.model.clone(),
        model_size: weight_bytes.0,
        model_n_params: params.total,
        n_prompt: trial.prompt_tokens,
        n_gen: trial.gen_tokens,
        n_depth: 0,
        n_threads: trial.threads,
        type_k: cache.to_owned(),
        type_v: cache.to_owned(),
        ..LlamaBench::default()
    }
}

/// The row with llama-bench's timing fields filled.
fn with_llama_bench(mut row: Row, result: &TrialResult, test_time: Option<String>) -> Row {
    let times: Vec<u64> = result
        .repetitions
        .iter()
        .map(|timing| metrics::decode_time(timing).0)
        .collect();
    let nanos: Vec<f64> = times.iter().map(|time| *time as f64).collect();
    let bench = &mut row.llama_bench;
    bench.test_time = test_time;
    // No metric, no decode: a repetition without steps, or one that took no time, has no speed to list.
    if let Some(speed) = &row.decode_tok_s {
        bench.avg_ns = stats::mean(&nanos).map(|mean| mean.round() as u64);
        bench.stddev_ns = stats::sample_sd(&nanos).map(|sd| sd.round() as u64);
        bench.avg_ts = Some(speed.mean);
        bench.stddev_ts = speed.sd;
        bench.samples_ns = times;
        bench.samples_ts = speed.samples.clone().unwrap_or_default();
    }
    row
}

/// The phase in which a trial broke.
fn failed_phase(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Ok | Outcome::DoesNotFit { .. } => None,
        Outcome::OutOfMemory { phase, .. }
        | Outcome::TimedOut { phase, .. }
        | Outcome::Crashed { phase, .. }
        | Outcome::Failed { phase, .. } => Some(phase.to_string()),
    }
}

/// The size at which a trial ran out of memory.
fn failed_bytes(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::OutOfMemory { requested, .. } => requested.map(|bytes| bytes.0),
        _ => None,
    }
}

/// What a crashed worker left on stderr.
fn stderr_tail(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Crashed { stderr_tail, .. } if !stderr_tail.is_empty() => {
            Some(stderr_tail.clone())
        }
        _ => None,
    }
}

/// The row with a reason for every figure that is null.
fn with_reasons(mut row: Row, result: &TrialResult) -> Row {
    let mut reasons = metric_reasons(&row, result);
    reasons.extend(other_reasons(&row, result));
    let memory = memory::missing(result, &row.memory).into_iter();
    reasons.extend(memory.map(|(name, reason)| (name.to_owned(), reason)));
    reasons.extend(paging::missing(result));
    reasons.extend(match energy::energy(result) {
        Ok((_, missing)) => missing,
        Err(reason) => vec![("energy".to_owned(), reason)],
    });
    reasons.extend(match state::device_state(result) {
        Ok((_, missing)) => missing,
        Err(reason) => vec![("device_state".to_owned(), reason)],
    });
    row.not_measured = reasons.into_iter().collect();
    if result.trial.pass.is_some() {
        without_tokens(&mut row, result);
    }
    row
}

/// What only decoders have is missing for that reason, and what only others have for its own.
fn without_tokens(row: &mut Row, result: &TrialResult) {
    let of_decoders = [
        "ttft_ms",
        "prefill_tok_s",
        "decode_tok_s",
        "itl_ms",
        "outside_run_share",
        "cost",
        "limits",
        "check",
        "decode_check",
        "fp32_difference",
        "avg_ns",
        "avg_ts",
        "stddev_ns",
        "stddev_ts",
    ];
    for name in of_decoders {
        row.not_measured
            .insert(name.to_owned(), NO_DECODER.to_owned());
    }
    let passes = [("latency_ms", &row.latency_ms), ("items_s", &row.items_s)];
    for (name, metric) in passes {
        match metric {
            Some(metric) => row
                .not_measured
                .extend(metrics::missing_parts(name, metric)),
            None => {
                row.not_measured.insert(name.to_owned(), no_timing(result));
            }
        }
    }
    if row.output_check.is_none() {
        let reason = ended(result, "outputs were looked at");
        row.not_measured.insert("output_check".to_owned(), reason);
    }
}

/// Reasons for metrics that are null, and for null parts of the others.
fn metric_reasons(row: &Row, result: &TrialResult) -> Vec<(String, String)> {
    let loaded = ended(result, "the model was loaded");
    let metrics: [(&str, &Option<Metric>, String); 5] = [
        ("load_ms", &row.load_ms, loaded),
        ("ttft_ms", &row.ttft_ms, no_timing(result)),
        ("prefill_tok_s", &row.prefill_tok_s, no_timing(result)),
        ("decode_tok_s", &row.decode_tok_s, no_decode(result)),
        ("itl_ms", &row.itl_ms, no_decode(result)),
    ];
    let mut reasons = Vec::new();
    for (name, metric, reason) in metrics {
        match metric {
            Some(metric) => reasons.extend(metrics::missing_parts(name, metric)),
            None => reasons.push((name.to_owned(), reason)),
        }
    }
    reasons
}

/// Reasons for everything else that is null, memory aside.
fn other_reasons(row: &Row, result: &TrialResult) -> Vec<(String, String)> {
    let bench = &row.llama_bench;
    let (no_cost, no_spread) = match row.decode_tok_s {
        Some(_) => (
            "the cost inputs give no number",
            "one sample has no spread".to_owned(),
        ),
        None => ("no decode speed to compute it from", no_decode(result)),
    };
    let not_started = "the trial was not started";
    let unsized_refusal = matches!(
        result.outcome,
        Outcome::OutOfMemory {
            requested: None,
            ..
        }
    );
    let fields = [
        (
            "failed_bytes",
            unsized_refusal,
            "the runtime's message names no size".to_owned(),
        ),
        ("placement", row.placement.is_none(), no_placement(result)),
        (
            "tuning",
            row.tuning.is_none(),
            tuning::missing(&result.trial).to_owned(),
        ),
        (
            "outside_run_share",
            row.outside_run_share.is_none(),
            no_decode(result),
        ),
        (
            "limits",
            row.limits.is_none(),
            "the device's limits were not measured".to_owned(),
        ),
        ("cost", row.cost.is_none(), no_cost.to_owned()),
        ("check", row.check.is_none(), checks::no_check(result)),
        (
            "decode_check",
            row.decode_check.is_none(),
            checks::no_decode_check(result),
        ),
        (
            "fp32_difference",
            row.fp32_difference.is_none(),
            checks::no_fp32_difference(result),
        ),
        ("wall_s", row.wall_s.is_none(), not_started.to_owned()),
        (
            "test_time",
            bench.test_time.is_none(),
            not_started.to_owned(),
        ),
        ("avg_ns", bench.avg_ns.is_none(), no_decode(result)),
        ("avg_ts", bench.avg_ts.is_none(), no_decode(result)),
        ("stddev_ns", bench.stddev_ns.is_none(), no_spread.clone()),
        ("stddev_ts", bench.stddev_ts.is_none(), no_spread),
    ];
    let absent = fields.into_iter().filter(|(_, absent, _)| *absent);
    let mut reasons: Vec<(String, String)> = absent
        .map(|(name, _, reason)| (name.to_owned(), reason))
        .collect();
    if let Some(price) = row.cost.as_ref().filter(|price| price.watts.is_none()) {
        reasons.push(("cost.watts".to_owned(), price.watts_source.clone()));
    }
    // Only where somebody wanted to look.
    if let Some(Err(reason)) = &result.router_check {
        reasons.push(("router_check".to_owned(), reason.clone()));
    }
    reasons
}

/// "the trial ended (crashed) before ...", or a plain word where it ended well.
pub(super) fn ended(result: &TrialResult, event: &str) -> String {
    match &result.outcome {
        Outcome::Ok => format!("the worker did not report that {event}"),
        outcome => format!("the trial ended as {} before {event}", outcome.status()),
    }
}

/// Why nobody knows where the nodes ran.
fn no_placement(result: &TrialResult) -> String {
    if result.load.is_some() {
        "this runtime does not tell (ONNX Runtime does from 1.24 on)".to_owned()
    } else {
        ended(result, "the model was loaded")
    }
}

/// Why there is no time to first token.
fn no_timing(result: &TrialResult) -> String {
    if result.repetitions.is_empty() {
        ended(result, "a timed repetition was finished")
    } else {
        "a repetition took no measurable time".to_owned()
    }
}

/// Why there is no decode speed.
fn no_decode(result: &TrialResult) -> String {
    let no_steps = result
        .repetitions
        .iter()
        .any(|timing| timing.itl.is_empty());
    if no_steps {
        "one generated token has no inter-token latency: it comes out of prefill".to_owned()
    } else {
        no_timing(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::trial::{CheckFacts, Phase};

    /// The row of a result, with everything else at its plainest.
    fn row_of(result: &TrialResult) -> Row {
        let time = Some("2026-01-02T03:04:05Z".to_owned());
        row(
            result,
            Params::default(),
            Bytes(9),
            None,
            &CostInputs::default(),
            time,
        )
    }

    /// Names of the timing fields and the like that are null in the row.
    fn nulls(row: &Row) -> Vec<String> {
        let value = serde_json::to_value(row).unwrap();
        let unmeasured = ["reason", "failed_phase", "failed_bytes", "stderr_tail"];
        let top = value.as_object().unwrap().iter();
        let mut names: Vec<String> = top
            .filter(|(name, value)| value.is_null() && !unmeasured.contains(&name.as_str()))
            .map(|(name, _)| name.clone())
            .collect();
        let memory = value["memory"].as_object().unwrap().iter();
        names.extend(
            memory
                .filter(|(_, value)| value.is_null())
                .map(|(name, _)| format!("memory.{name}")),
        );
        names
    }

    #[test]
    fn every_null_has_its_reason() {
        let whole = fixture::result("m", 8);
        let mut crashed = whole.clone();
        crashed.outcome = Outcome::Crashed {
            phase: Phase::Load,
            reason: "killed by signal 11".to_owned(),
            stderr_tail: "boom".to_owned(),
        };
        crashed.repetitions.clear();
        crashed.load = None;
        let mut short = whole.clone();
        short.memory.clear();
        for timing in &mut short.repetitions {
            timing.itl.clear();
        }
        for result in [whole, crashed, short] {
            let row = row_of(&result);
            for name in nulls(&row) {
                assert!(
                    row.not_measured.contains_key(&name),
                    "{name} of {:?}",
                    row.status
                );
            }
        }
    }

    #[test]
    fn a_crash_keeps_its_phase_reason_and_last_words() {
        let mut result = fixture::result("m", 8);
        result.outcome = Outcome::Crashed {
            phase: Phase::Decode,
            reason: "killed by signal 11".to_owned(),
            stderr_tail: "boom".to_owned(),
        };
        result.repetitions.truncate(2);
        let row = row_of(&result);
        assert_eq!(
            (row.status.as_str(), row.failed_phase.as_deref()),
            ("crashed", Some("decode"))
        );
        assert_eq!(row.stderr_tail.as_deref(), Some("boom"));
        assert_eq!(row.decode_tok_s.unwrap().n, 2);
    }

    #[test]
    fn what_ran_out_of_memory_keeps_its_size_or_says_that_none_was_told() {
        let mut result = fixture::result("m", 8);
        for (requested, told) in [(Some(Bytes(77)), false), (None, true)] {
            result.outcome = Outcome::OutOfMemory {
                phase: Phase::Load,
                requested,
                reason: "no room".to_owned(),
            };
            let row = row_of(&result);
            assert_eq!(row.failed_bytes, requested.map(|bytes| bytes.0));
            assert_eq!(row.failed_phase.as_deref(), Some("load"));
            assert_eq!(row.not_measured.contains_key("failed_bytes"), told);
        }
    }

    #[test]
    fn llama_bench_fields_say_the_same_as_ours() {
        let row = row_of(&fixture::result("m", 8));
        let (bench, speed) = (row.llama_bench, row.decode_tok_s.unwrap());
        assert_eq!(bench.test, "pp256+tg8");
        assert_eq!(
            (bench.avg_ts, bench.stddev_ts),
            (Some(speed.mean), speed.sd)
        );
        assert_eq!(
            (bench.samples_ns.len(), Some(bench.samples_ts)),
            (5, speed.samples)
        );
        assert_eq!((bench.model_size, bench.type_k.as_str()), (9, "f32"));
    }

    #[test]
    fn a_difference_that_is_no_number_stays_out_of_the_result() {
        let mut result = fixture::result("m", 8);
        result.check = Some(CheckFacts {
            tolerance: 1e-4,
            prefill_error: f64::NAN,
            pieces_error: 0.0,
            stepwise_error: 0.0,
            decode_error: 0.0,
            ids_equal: true,
            quantization: None,
        });
        let check = row_of(&result).check.unwrap();
        assert!(!check.passed && check.worst_error.is_finite());
    }

    #[test]
    fn a_pending_row_says_that_it_has_not_run() {
        let trial = fixture::trial("m", 8);
        let row = pending_row(&trial, Params::default(), Bytes(9), Some(Bytes(7)));
        assert_eq!(
            (row.status.as_str(), row.memory.predicted_peak_bytes),
            ("pending", Some(7))
        );
        let unexplained =
            |name: &String| !name.starts_with("memory.") && !row.not_measured.contains_key(name);
        assert_eq!(nulls(&row).into_iter().find(unexplained), None);
    }
}
