//! A result of edgebench as the comparison sees it.

use super::quantity::Quantity;
use super::run::{Budget, Case, Figure, Key, Parts, Run, Samples, Source};
use super::{ceilings, facts};
use crate::report::schema::{Metric, Report, Row};
use crate::report::tuning_name;
use std::collections::BTreeMap;

/// Why quantiles have no interval.
const NO_LATENCIES: &str = "the result keeps quantiles of many latencies and not each of them";

/// Why energy has none either.
const ONE_ENERGY: &str = "energy is one figure for each trial";

/// The report read from `file`.
pub fn run(file: &str, report: &Report) -> Run {
    let rows = &report.trials;
    let several = report.budgets_bytes.len() > 1;
    let version = report.environment.runtime_version.as_deref();
    Run {
        file: file.to_owned(),
        source: Source::Edgebench,
        started_utc: Some(report.started_utc.clone()),
        command: Some(report.command_line.join(" ")).filter(|line| !line.is_empty()),
        finished: report.finished,
        facts: facts::of_report(report),
        cases: rows.iter().map(|row| case(row, version, several)).collect(),
        ceilings: ceilings::of_report(report),
    }
}

/// One row.
fn case(row: &Row, runtime_version: Option<&str>, one_of_several: bool) -> Case {
    Case {
        id: row.id.clone(),
        key: Key {
            model: row.model.clone(),
            batch: row.batch,
            prompt_tokens: row.prompt_tokens,
            gen_tokens: row.gen_tokens,
            depth: row.llama_bench.n_depth,
            kv_cache: row.kv_cache_type.clone(),
            kv_capacity: row
                .kv_capacity
                .unwrap_or(row.prompt_tokens + row.gen_tokens),
        },
        budget: Some(Budget {
            bytes: row.memory.budget_bytes,
            one_of_several,
        }),
        form: Some(row.form.clone()),
        precision: row.precision.clone(),
        params: row.params.total,
        obstacles: obstacles(row),
        settings: settings(row, runtime_version),
        memory_settings: memory_settings(row),
        currency: row.cost.as_ref().map(|cost| cost.currency.clone()),
        named_by_user: false,
        figures: Quantity::ALL
            .into_iter()
            .map(|quantity| (quantity, figure(row, quantity)))
            .collect(),
        memory: parts(row),
    }
}

/// What makes the row's own figures unfit to be compared with any.
fn obstacles(row: &Row) -> Vec<String> {
    let mut found = Vec::new();
    if row.status != "ok" {
        let status = row.status.replace('_', " ");
        found.push(match &row.reason {
            Some(reason) => format!("{status} ({reason})"),
            None => status,
        });
    }
    if row.check.as_ref().is_some_and(|check| !check.passed) {
        found.push("its logits differ from the reference".to_owned());
    }
    // A device that slowed itself down is told in a warning, also in files without its state.
    if row
        .warnings
        .iter()
        .any(|warning| warning.contains("throttl"))
    {
        found.push("throttled".to_owned());
    }
    found
}

/// Settings that are told where they differ.
fn settings(row: &Row, runtime_version: Option<&str>) -> BTreeMap<&'static str, String> {
    let mut settings = BTreeMap::from([("engine", "ONNX Runtime".to_owned())]);
    let mut set = |name, value: Option<String>| {
        if let Some(value) = value {
            settings.insert(name, value);
        }
    };
    // Decoding begins where the prompt ends; another program may begin elsewhere.
    set("depth of decoding", Some(row.prompt_tokens.to_string()));
    set("ONNX Runtime", runtime_version.map(str::to_owned));
    set("KV cache", row.kv_mode.clone());
    set(
        "number of warm-up runs",
        row.warmup.map(|runs| runs.to_string()),
    );
    set(
        "power in the cost",
        row.cost.as_ref().map(|cost| cost.watts_source.clone()),
    );
    // Of floating point caches the precision tells enough.
    if row.kv_cache_type != "float" {
        set("type of keys", Some(row.llama_bench.type_k.clone()));
        set("type of values", Some(row.llama_bench.type_v.clone()));
    }
    // A CPU has no CUDA graph and a GPU does not care for threads: no difference of choice.
    if row.device == "cpu" {
        let threads = row.llama_bench.n_threads;
        set("number of threads", Some(threads.to_string()));
    } else {
        let graph = row.cuda_graph.map(|graph| if graph { "on" } else { "off" });
        set("CUDA graph", graph.map(str::to_owned));
        set("tuning", tuning_name(row));
    }
    settings
}

/// The budget, and what the peak is a peak of.
fn memory_settings(row: &Row) -> BTreeMap<&'static str, String> {
    let method = row.memory.method.split(';').next().unwrap_or_default();
    BTreeMap::from([
        ("budget", row.memory.budget_bytes.to_string()),
        ("method of measuring", method.to_owned()),
    ])
}

/// One figure of a row.
pub fn figure(row: &Row, quantity: Quantity) -> Figure {
    match quantity {
        Quantity::TtftMs => of_metric(row, "ttft_ms", &row.ttft_ms, |metric| metric.mean),
        Quantity::PrefillTokS => of_metric(row, "prefill_tok_s", &row.prefill_tok_s, |m| m.mean),
        Quantity::DecodeTokS => of_metric(row, "decode_tok_s", &row.decode_tok_s, |m| m.mean),
        Quantity::ItlMsP50 => of_metric(row, "itl_ms", &row.itl_ms, |metric| metric.median),
        Quantity::ItlMsP90 => {
            let quantiles = row.itl_ms.as_ref().and_then(|itl| itl.quantiles.as_ref());
            match quantiles.and_then(|quantiles| quantiles.p90) {
                Some(value) => bare(value, NO_LATENCIES),
                None => missing(row, &["itl_ms.quantiles.p90", "itl_ms"]),
            }
        }
        Quantity::PeakBytes => match row.memory.comparable_peak() {
            Some(peak) => bare(peak as f64, "peak memory is one reading for each trial"),
            None => missing(row, &["memory.peak_bytes", "memory"]),
        },
        Quantity::CostPerMillionTokens => cost(row),
        Quantity::EnergyPerTokenJ => match &row.energy {
            Some(energy) => bare(energy.per_token_j, ONE_ENERGY),
            None => missing(row, &["energy"]),
        },
    }
}

/// A figure of a metric.
fn of_metric(row: &Row, name: &str, metric: &Option<Metric>, read: fn(&Metric) -> f64) -> Figure {
    let Some(metric) = metric else {
        return missing(row, &[name]);
    };
    Figure::Known {
        value: read(metric),
        samples: match &metric.samples {
            Some(samples) => Samples::Own(samples.clone()),
            None => Samples::None(NO_LATENCIES.to_owned()),
        },
    }
}

/// The cost, whose spread is that of the decode speed.
fn cost(row: &Row) -> Figure {
    let Some(cost) = &row.cost else {
        return missing(row, &["cost"]);
    };
    let speed = row.decode_tok_s.as_ref();
    Figure::Known {
        value: cost.per_million_tokens,
        samples: match speed.and_then(|speed| speed.samples.clone()) {
            Some(samples) => Samples::OfSpeed(samples),
            None => Samples::None("the decode speed it comes from has no samples".to_owned()),
        },
    }
}

/// A figure without samples.
fn bare(value: f64, reason: &str) -> Figure {
    Figure::Known {
        value,
        samples: Samples::None(reason.to_owned()),
    }
}

/// No figure, with the first reason that the row tells.
fn missing(row: &Row, paths: &[&str]) -> Figure {
    let told = paths.iter().find_map(|path| row.not_measured.get(*path));
    Figure::Missing(told.map_or_else(|| "this file does not tell it".to_owned(), String::clone))
}

/// The parts of the peak.
pub fn parts(row: &Row) -> Parts {
    let memory = &row.memory;
    let names = [
        "weights_bytes",
        "kv_bytes",
        "activations_bytes",
        "runtime_bytes",
        "unaccounted_bytes",
    ];
    let reason = |name: &&str| {
        let told = row.not_measured.get(&format!("memory.{name}"));
        Some(((*name).to_owned(), told?.clone()))
    };
    Parts {
        weights_bytes: memory.weights_bytes,
        kv_bytes: memory.kv_bytes,
        activations_bytes: memory.activations_bytes,
        runtime_bytes: memory.runtime_bytes,
        unaccounted_bytes: memory.unaccounted_bytes,
        not_measured: names.iter().filter_map(reason).collect(),
    }
}
