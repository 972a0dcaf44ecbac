//! The list of all trials: one line for each, of every result in `benchmarks/results/`.

use crate::benchmarks;
use serde_json::Value;
use std::fs;

/// The results, by name: the other JSON files there are of checks and hold no trials.
pub fn files() -> Vec<(String, Value)> {
    let entries = fs::read_dir(benchmarks().join("results")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    let read = |name: String| {
        let text = fs::read_to_string(benchmarks().join("results").join(&name)).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        (value["schema_version"].is_string() && value["trials"].is_array()).then_some((name, value))
    };
    names.into_iter().filter_map(read).collect()
}

const MIB: f64 = 1_048_576.0;

/// A value as a cell: empty where it is not known.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Bytes in MiB.
fn mebibytes(value: &Value) -> String {
    let bytes = value.as_f64();
    bytes.map_or_else(String::new, |bytes| (bytes / MIB).to_string())
}

/// The columns: title and what stands in it, of the result and the trial.
type Column = (&'static str, fn(&Value, &Value) -> String);

const COLUMNS: [Column; 29] = [
    ("started_utc", |report, _| cell(&report["started_utc"])),
    ("commit", |report, _| cell(&report["tool"]["commit"])),
    ("machine", |report, trial| {
        let environment = &report["environment"];
        cell(match trial["device"] == "cpu" {
            true => &environment["cpu_info"],
            false => &environment["gpu_info"],
        })
    }),
    ("device", |_, trial| cell(&trial["device"])),
    ("runtime", |report, _| {
        cell(&report["environment"]["runtime_version"])
    }),
    ("model", |_, trial| cell(&trial["model"])),
    ("form", |_, trial| cell(&trial["form"])),
    ("precision", |_, trial| cell(&trial["precision"])),
    // Before there was a choice it was that of the activations.
    ("kv_cache_type", |_, trial| {
        let told = trial["kv_cache_type"].as_str();
        told.unwrap_or("float").to_owned()
    }),
    ("cuda_graph", |_, trial| cell(&trial["cuda_graph"])),
    ("tuning_kept", |_, trial| {
        let kept = trial["tuning"]["kept"].as_array().into_iter().flatten();
        kept.map(cell).collect::<Vec<_>>().join(" ")
    }),
    ("batch", |_, trial| cell(&trial["batch"])),
    ("prompt_tokens", |_, trial| cell(&trial["prompt_tokens"])),
    ("gen_tokens", |_, trial| cell(&trial["gen_tokens"])),
    ("repetitions", |_, trial| cell(&trial["repetitions"])),
    ("budget_mib", |_, trial| {
        mebibytes(&trial["memory"]["budget_bytes"])
    }),
    ("status", |_, trial| cell(&trial["status"])),
    ("params_total", |_, trial| cell(&trial["params"]["total"])),
    ("params_active", |_, trial| cell(&trial["params"]["active"])),
    ("decode_tok_s_mean", |_, trial| {
        cell(&trial["decode_tok_s"]["mean"])
    }),
    ("decode_tok_s_sd", |_, trial| {
        cell(&trial["decode_tok_s"]["sd"])
    }),
    ("ttft_ms_median", |_, trial| {
        cell(&trial["ttft_ms"]["median"])
    }),
    ("itl_ms_p50", |_, trial| {
        cell(&trial["itl_ms"]["quantiles"]["p50"])
    }),
    ("itl_ms_p90", |_, trial| {
        cell(&trial["itl_ms"]["quantiles"]["p90"])
    }),
    ("peak_mib", |_, trial| {
        mebibytes(&trial["memory"]["peak_bytes"])
    }),
    ("energy_per_token_j", |_, trial| {
        cell(&trial["energy"]["per_token_j"])
    }),
    ("cost_per_million_tokens", |_, trial| {
        cell(&trial["cost"]["per_million_tokens"])
    }),
    ("id", |_, trial| cell(&trial["id"])),
    ("command", |report, _| {
        let words = report["command_line"].as_array().into_iter().flatten();
        words.map(cell).collect::<Vec<_>>().join(" ")
    }),
];

/// The lines of some results, their name in front.
pub fn rows(files: &[(String, Value)]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (name, report) in files {
        for trial in report["trials"].as_array().unwrap() {
            let cells = COLUMNS.iter().map(|(_, read)| read(report, trial));
            rows.push(std::iter::once(name.clone()).chain(cells).collect());
        }
    }
    rows
}

/// The titles.
pub fn titles() -> Vec<&'static str> {
    let titles = COLUMNS.iter().map(|(title, _)| *title);
    std::iter::once("file").chain(titles).collect()
}

/// All of it as comma-separated values.
pub fn csv() -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(titles()).unwrap();
    for row in rows(&files()) {
        writer.write_record(row).unwrap();
    }
    String::from_utf8(writer.into_inner().unwrap()).unwrap()
}
