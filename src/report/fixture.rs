//! Hand-made trials and a report of them, for the tests of this room and of the exporters.

use super::{
    CostInputs, Environment, Formula, Params, Repeatability, Report, ReportHead, Tool, build, row,
};
use crate::trial::{
    DeviceState, Edge, EnergySource, LoadFacts, MemoryReading, Outcome, Paging, Phase, Placement,
    PowerLog, PowerMark, PowerReading, Repetition, Swapped, Trial, TrialResult,
};
use crate::units::{Bytes, Nanos};
use std::collections::BTreeMap;

/// A trial on the CPU in the fused form: five repetitions of 256 prompt tokens.
pub fn trial(model: &str, gen_tokens: u32) -> Trial {
    Trial {
        id: format!("{model}/fused/fp32/b1/pp256/tg{gen_tokens}"),
        model: model.to_owned(),
        prompt_tokens: 256,
        gen_tokens,
        repetitions: 5,
        warmup: 1,
        threads: 2,
        seed: 1,
        budget: Bytes(4 << 30),
        ..Trial::example()
    }
}

/// A repetition with these times in milliseconds.
pub fn repetition(prefill: u64, itl: &[u64]) -> Repetition {
    Repetition {
        prefill: Nanos(prefill * 1_000_000),
        ttft: Nanos((prefill + 1) * 1_000_000),
        itl: itl.iter().map(|step| Nanos(step * 1_000_000)).collect(),
        outside_run: Nanos(itl.iter().sum::<u64>() * 2_000),
    }
}

/// A reading of resident memory in MiB.
pub fn reading(phase: Phase, anon: u64, file: u64) -> MemoryReading {
    MemoryReading {
        at: Nanos(0),
        phase,
        rss_anon: Some(Bytes(anon << 20)),
        rss_file: Some(Bytes(file << 20)),
        device_process: None,
        device_used: None,
        arena: None,
        pool: None,
    }
}

/// An `ok` result whose steps take around 10 ms.
pub fn result(model: &str, gen_tokens: u32) -> TrialResult {
    timed(trial(model, gen_tokens), 10_000, 500)
}

/// An `ok` result whose steps take about `step_us` and whose weights are `weights_mib`.
fn timed(trial: Trial, step_us: u64, weights_mib: u64) -> TrialResult {
    let steps = u64::from(trial.gen_tokens - 1);
    let one = |turn: u64| {
        let step =
            |index: u64| Nanos(1_000 * (step_us + 20 * turn + (index * 37 + turn * 11) % 100));
        let prefill = Nanos(step_us * 12_000 + turn * 1_000_000);
        Repetition {
            prefill,
            ttft: Nanos(prefill.0 + 900_000),
            itl: (0..steps).map(step).collect(),
            outside_run: Nanos(steps * 25_000),
        }
    };
    TrialResult {
        outcome: Outcome::Ok,
        load: Some(LoadFacts {
            not_captured: None,
            session: Nanos(412_345_678),
            provider: "CPUExecutionProvider".to_owned(),
            weights: Bytes(weights_mib << 20),
            kv_cache: Bytes(27 << 20),
            io_buffers: Bytes(1 << 20),
            weights_taken: None,
            buffers_taken: None,
            packed: None,
            arena_limit: None,
            mapped: Bytes(0),
            link_ways: None,
            largest_tensor: Bytes(147 << 20),
            kv_mode: "in place".to_owned(),
            placement: Some(Placement {
                nodes: [("CPUExecutionProvider".to_owned(), 99)].into(),
                host_operators: BTreeMap::new(),
            }),
        }),
        repetitions: (0..u64::from(trial.repetitions)).map(one).collect(),
        first_run: Some(one(9)),
        warmth: None,
        check: None,
        decode_check: None,
        output_check: None,
        fp32_difference: None,
        router_check: None,
        memory: vec![
            reading(Phase::Start, 3, 6),
            reading(Phase::Runtime, 5, 24),
            reading(Phase::Load, 61, 24 + weights_mib),
            reading(Phase::Prefill, 103, 24 + weights_mib),
            reading(Phase::Decode, 99, 24 + weights_mib),
        ],
        enforcement: None,
        others: None,
        power: PowerLog::default(),
        paging: Some(Paging {
            worker_swap: Ok(Bytes(0)),
            load: Some(Ok(Swapped::default())),
            timed: Some(Ok(Swapped::default())),
            timed_major_faults: Some(Ok(0)),
        }),
        offload: None,
        routing: Vec::new(),
        first_ids: vec![17, 4, 99],
        wall: Some(Nanos(9_876_543_210)),
        trial,
    }
}

/// Marks of a counter around each phase, drawing `prefill_watts` and `decode_watts`, with a millisecond between phases.
pub fn powered(mut result: TrialResult, prefill_watts: u64, decode_watts: u64) -> TrialResult {
    let state = |celsius: f64| DeviceState {
        cpu_clock_mhz: Ok(2400),
        temperature_c: Ok(celsius),
        throttle_reasons: Ok(Vec::new()),
        ..DeviceState::unknown("the trial runs on the CPU")
    };
    let (mut at, mut counter_uj) = (3_000_000_000, 0);
    let mut marks = Vec::new();
    for timing in &result.repetitions {
        let decode = timing.itl.iter().map(|step| step.0).sum();
        let phases = [
            (Phase::Prefill, timing.ttft.0, prefill_watts),
            (Phase::Decode, decode, decode_watts),
        ];
        for (phase, span, watts) in phases {
            for edge in [Edge::Begin, Edge::End] {
                marks.push(PowerMark {
                    at: Nanos(at),
                    phase,
                    edge,
                    reading: PowerReading {
                        counter_uj: Some(Ok(counter_uj)),
                        ..PowerReading::default()
                    },
                    state: None,
                });
                if edge == Edge::Begin {
                    at += span;
                    counter_uj += span / 1000 * watts;
                }
            }
            at += 1_000_000;
        }
    }
    let last = marks.len() - 1;
    marks[0].state = Some(state(48.0));
    marks[last].state = Some(state(71.5));
    result.power = PowerLog {
        source: Some(Ok(EnergySource::Rapl(1))),
        marks,
    };
    result
}

/// A result that ended badly before anything was measured.
fn broken(trial: Trial, outcome: Outcome) -> TrialResult {
    TrialResult {
        outcome,
        load: None,
        repetitions: Vec::new(),
        first_run: None,
        warmth: None,
        memory: Vec::new(),
        routing: Vec::new(),
        first_ids: Vec::new(),
        wall: Some(Nanos(1_234_000_000)),
        ..timed(trial, 10, 1)
    }
}

/// Parameter counts.
pub fn params(total: u64, active: u64) -> Params {
    Params {
        total,
        active: Some(active),
        active_read: Some(active - active / 10),
    }
}

/// What the fixture's report is headed by.
pub fn head() -> ReportHead {
    ReportHead {
        tool: Tool {
            name: "edgebench".to_owned(),
            version: "0.1.0".to_owned(),
            commit: None,
        },
        command_line: ["edgebench", "--vram-budget", "4G"]
            .map(str::to_owned)
            .to_vec(),
        started_utc: "2026-01-02T03:04:05Z".to_owned(),
        environment: Environment {
            arch: "x86_64".to_owned(),
            cpu_info: Some("Example CPU".to_owned()),
            runtime_version: Some("1.31.1".to_owned()),
            provider_in_use: Some("CPUExecutionProvider".to_owned()),
            ..Environment::default()
        },
        budgets: vec![Bytes(4 << 30)],
        seed: 1,
        tokenizer: "rules".to_owned(),
        inputs: None,
        continued_utc: Vec::new(),
        formulas: None,
    }
}

/// A finished report: a dense and an MoE row that are `ok`, one that does not fit, one that crashed.
pub fn fixture() -> Report {
    let inputs = CostInputs::default();
    let time = Some("2026-01-02T03:04:06Z".to_owned());
    let mut slow = timed(trial("dense-120m", 128), 24_300, 475);
    slow.repetitions[2].itl[5] = Nanos(210_000_000);
    let fast = powered(timed(trial("moe-120m-total", 128), 9_870, 481), 60, 40);
    let too_big = Outcome::DoesNotFit {
        reason: "needs 4.71 GiB (predicted) of 4.00 GiB; fp16 or a context of 64 tokens would fit"
            .to_owned(),
    };
    let crash = Outcome::Crashed {
        phase: Phase::Load,
        reason: "killed by signal 11 (SIGSEGV)\nwhile loading | the graph".to_owned(),
        stderr_tail: "\u{1b}[31mboom\u{1b}[0m, \"quoted\"".to_owned(),
    };
    let rows = vec![
        (
            slow,
            params(124_439_808, 124_439_808),
            475,
            Some(Bytes(600 << 20)),
        ),
        (
            fast,
            params(126_100_000, 46_200_000),
            481,
            Some(Bytes(610 << 20)),
        ),
        (
            broken(trial("llama-1b", 128), too_big),
            params(1_235_814_400, 1_235_814_400),
            4714,
            Some(Bytes(4823 << 20)),
        ),
        (
            broken(trial("granite-1b-a400m", 128), crash),
            params(1_334_000_000, 428_000_000),
            5089,
            None,
        ),
    ];
    let rows = rows.into_iter().map(|(result, params, mib, predicted)| {
        row(
            &result,
            params,
            Bytes(mib << 20),
            predicted,
            &inputs,
            time.clone(),
        )
    });
    build(&head(), rows.collect(), None)
}

/// A finished report of three budgets: in the smallest nothing fits, in the next one the dense model does, in the largest
/// the rows are those of [`fixture`].
pub fn several_budgets() -> Report {
    let whole = fixture();
    let budgets = [300 << 20, 600 << 20, 4 << 30];
    let mut rows = Vec::new();
    for budget in budgets {
        for row in &whole.trials {
            let mut row = row.clone();
            row.memory.budget_bytes = budget;
            row.id.push_str(&format!("/vram{}M", budget >> 20));
            let need = row.memory.predicted_peak_bytes.unwrap_or(0);
            if need > budget {
                let trial = Trial {
                    id: row.id.clone(),
                    budget: Bytes(budget),
                    ..trial(&row.model, row.gen_tokens)
                };
                let reason = format!(
                    "is predicted to need {} MiB; no model fits {} MiB",
                    need >> 20,
                    budget >> 20
                );
                let result = TrialResult {
                    wall: None,
                    ..broken(trial, Outcome::DoesNotFit { reason })
                };
                let weights = Bytes(row.llama_bench.model_size);
                let predicted = row.memory.predicted_peak_bytes.map(Bytes);
                row = super::row(
                    &result,
                    row.params,
                    weights,
                    predicted,
                    &CostInputs::default(),
                    None,
                );
            }
            rows.push(row);
        }
    }
    let head = ReportHead {
        budgets: budgets.map(Bytes).to_vec(),
        ..head()
    };
    build(&head, rows, None)
}

/// A finished report that was asked to be a study: a pair at equal total parameters, one at equal active parameters whose mixture
/// does not fit, and the published one.
pub fn studied() -> Report {
    let inputs = CostInputs::default();
    let too_big = Outcome::DoesNotFit {
        reason: "needs 4.71 GiB (predicted) of 4.00 GiB; fp16 would fit".to_owned(),
    };
    let (dense, total) = (
        params(124_439_808, 124_439_808),
        params(124_466_688, 81_975_552),
    );
    let results = [
        (timed(trial("dense-120m", 128), 24_300, 475), dense),
        (timed(trial("moe-120m-a82m", 128), 17_870, 475), total),
        (
            broken(trial("moe-295m-a120m", 128), too_big),
            params(294_466_688, 124_466_688),
        ),
        (
            timed(trial("alchemist-16m", 128), 24_350, 62),
            params(16_069_382, 16_068_611),
        ),
    ];
    let rows = results
        .into_iter()
        .map(|(result, params)| row(&result, params, Bytes(475 << 20), None, &inputs, None));
    let head = ReportHead {
        formulas: Some(Formula::ALL.to_vec()),
        ..head()
    };
    build(&head, rows.collect(), None)
}

/// The fixture run three times, the last of them 5 % faster where it ran.
pub fn repeated_report() -> Report {
    let rows = fixture().trials;
    let mut repeated = Repeatability::new(3, &rows);
    for (run, factor) in [(1, 1.0), (2, 1.01), (3, 1.05)] {
        for (place, row) in rows.iter().enumerate() {
            let mut row = row.clone();
            if let Some(speed) = &mut row.decode_tok_s {
                speed.mean *= factor;
            }
            repeated.record(place, run, &row);
        }
    }
    build(&head(), rows, Some(&repeated))
}
