//! What stdout carries: data only, in each format, and the same data as the result file.

use crate::sandbox::{Ran, Sandbox, report, statuses};
use serde_json::{Value, json};

/// A run with a good row, one that broke while decoding, one that broke before anything was measured and one that was
/// not started.
fn mixed(sandbox: &Sandbox, format: &str, more: &[&str]) -> Ran {
    let script = json!({"models": {
        "tiny-llama": {"fault": {"at": "step", "nth": 5, "what": "out_of_memory"}},
        "tiny-qwen3": {"fault": {"at": "open", "what": "crash"}},
    }});
    let mut args = vec![
        "--model",
        "tiny-gpt2,tiny-llama,tiny-qwen3,dense-120m",
        "--precision",
        "fp32",
        "--vram-budget",
        "200M",
    ];
    args.extend(["-o", "result.json", "--format", format]);
    args.extend(more);
    sandbox.scripted(&script, &args).left_with(6)
}

const STATUSES: [&str; 4] = ["ok", "out_of_memory", "crashed", "does_not_fit"];

fn file(sandbox: &Sandbox) -> Value {
    report(&sandbox.work().join("result.json"))
}

#[test]
fn json_is_the_result_file_byte_for_byte() {
    let sandbox = Sandbox::new();
    let ran = mixed(&sandbox, "json", &[]);
    let written = std::fs::read_to_string(sandbox.work().join("result.json")).unwrap();
    assert_eq!(ran.stdout, written);
    assert_eq!(statuses(&ran.json()), STATUSES);
}

#[test]
fn each_line_of_jsonl_is_a_row_of_the_file() {
    let sandbox = Sandbox::new();
    let ran = mixed(&sandbox, "jsonl", &[]);
    let file = file(&sandbox);
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut expected = file["trials"].as_array().unwrap().clone();
    for row in &mut expected {
        row["schema_version"] = file["schema_version"].clone();
    }
    assert_eq!(lines, expected);
}

#[test]
fn each_line_of_csv_has_as_many_cells_as_the_header() {
    let sandbox = Sandbox::new();
    let ran = mixed(&sandbox, "csv", &[]);
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(ran.stdout.as_bytes());
    let header = reader.headers().unwrap().clone();
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert!(
        records.iter().all(|record| record.len() == header.len()),
        "{ran}"
    );
    let column = |name: &str| {
        let at = header.iter().position(|key| key == name).unwrap();
        records.iter().map(|record| &record[at]).collect::<Vec<_>>()
    };
    assert_eq!(column("status"), STATUSES);
    assert_eq!(
        column("model"),
        ["tiny-gpt2", "tiny-llama", "tiny-qwen3", "dense-120m"]
    );
    let speeds = column("decode_tok_s_mean");
    assert!(
        speeds[0].parse::<f64>().unwrap() > 0.0 && speeds[2..] == ["", ""],
        "{speeds:?}"
    );
}

#[test]
fn each_line_of_the_markdown_table_has_as_many_cells_as_the_header() {
    let sandbox = Sandbox::new();
    let ran = mixed(&sandbox, "markdown", &[]);
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    let blocks = ran.stdout.split("\n\n");
    let tables: Vec<Vec<&str>> = blocks
        .filter(|block| block.starts_with('|'))
        .map(|block| block.lines().collect())
        .collect();
    // All rows, then the memory of those that have a reading.
    let lengths: Vec<usize> = tables.iter().map(Vec::len).collect();
    assert_eq!(lengths[..2], [2 + STATUSES.len(), 2 + 3], "{ran}");
    for lines in &tables {
        assert!(
            lines
                .iter()
                .all(|line| line.ends_with('|') && bars(line) == bars(lines[0])),
            "{ran}"
        );
        assert!(lines[1].chars().all(|char| "|-: ".contains(char)), "{ran}");
    }
}

#[test]
fn no_format_mixes_progress_into_stdout() {
    for format in ["table", "json", "jsonl", "csv", "markdown"] {
        let sandbox = Sandbox::new();
        let (loud, quiet) = (
            mixed(&sandbox, format, &[]),
            mixed(&sandbox, format, &["--quiet"]),
        );
        assert!(loud.stderr.contains("result: result.json"), "{loud}");
        assert!(!loud.stdout.contains("result: result.json"), "{loud}");
        assert_eq!(quiet.stderr, "", "{quiet}");
        assert!(!quiet.stdout.is_empty());
    }
}

#[test]
fn the_table_has_colour_only_when_it_is_asked_for() {
    let sandbox = Sandbox::new();
    let table = |when: &str| mixed(&sandbox, "table", &["--color", when]).stdout;
    for when in ["auto", "never"] {
        let text = table(when);
        assert!(!text.contains('\x1b'), "{text}");
        assert!(
            text.contains("tiny-gpt2") && text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
    assert!(table("always").contains("\x1b["));
}

const REPORT_KEYS: [&str; 6] = [
    "schema_version",
    "tool",
    "environment",
    "budget_bytes",
    "budgets_bytes",
    "trials",
];
const ENVIRONMENT_KEYS: [&str; 9] = [
    "cpu_info",
    "gpu_info",
    "gpu",
    "memory_total_bytes",
    "runtime_version",
    "provider_in_use",
    "power_mode",
    "cpu_clock_mhz",
    "os",
];
const ROW_KEYS: [&str; 40] = [
    "id",
    "model",
    "form",
    "precision",
    "device",
    "batch",
    "prompt_tokens",
    "gen_tokens",
    "status",
    "reason",
    "failed_phase",
    "failed_bytes",
    "params",
    "load_ms",
    "ttft_ms",
    "prefill_tok_s",
    "decode_tok_s",
    "itl_ms",
    "memory",
    "energy",
    "device_state",
    "cost",
    "not_measured",
    // llama-bench's names.
    "test",
    "model_type",
    "model_size",
    "model_n_params",
    "n_prompt",
    "n_gen",
    "n_depth",
    "n_threads",
    "type_k",
    "type_v",
    "test_time",
    "avg_ns",
    "stddev_ns",
    "avg_ts",
    "stddev_ts",
    "samples_ns",
    "samples_ts",
];
const MEMORY_KEYS: [&str; 8] = [
    "peak_bytes",
    "weights_bytes",
    "kv_bytes",
    "activations_bytes",
    "runtime_bytes",
    "unaccounted_bytes",
    "budget_bytes",
    "method",
];
const METRICS: [&str; 5] = [
    "load_ms",
    "ttft_ms",
    "prefill_tok_s",
    "decode_tok_s",
    "itl_ms",
];

#[track_caller]
fn has_all(value: &Value, keys: &[&str]) {
    let object = value.as_object().unwrap();
    for key in keys {
        assert!(object.contains_key(*key), "{key} is missing in {value}");
    }
}

#[test]
fn every_promised_key_is_there_in_every_row() {
    let sandbox = Sandbox::new();
    let report = mixed(&sandbox, "json", &[]).json();
    has_all(&report, &REPORT_KEYS);
    has_all(&report["tool"], &["name", "version", "commit"]);
    has_all(&report["environment"], &ENVIRONMENT_KEYS);
    assert_eq!(report["budget_bytes"], 200 << 20);
    for row in report["trials"].as_array().unwrap() {
        has_all(row, &ROW_KEYS);
        has_all(&row["params"], &["total", "active", "active_read"]);
        has_all(&row["memory"], &MEMORY_KEYS);
        for metric in METRICS
            .iter()
            .map(|name| &row[*name])
            .filter(|metric| !metric.is_null())
        {
            has_all(metric, &["median", "mean", "sd", "ci95", "n"]);
            assert!(
                !(metric["samples"].is_null() && metric["quantiles"].is_null()),
                "{metric}"
            );
        }
    }
    let good = &report["trials"][0];
    for name in METRICS {
        assert!(good[name]["mean"].as_f64().unwrap() > 0.0, "{name}: {good}");
    }
    assert!(
        good["samples_ns"].as_array().unwrap().len() == 2
            && good["avg_ts"] == good["decode_tok_s"]["mean"]
    );
}

/// Paths of everything in a row that is null: `cost`, `memory.peak_bytes`, `ttft_ms.sd`, `device_state.end.sm_clock_mhz`.
fn nulls(row: &Value) -> Vec<String> {
    // Text that is there only when something broke, and inputs that were not given, are no measurements.
    let no_figures = ["reason", "failed_phase", "stderr_tail"];
    let mut paths = Vec::new();
    for (key, value) in row.as_object().unwrap() {
        let sized = key != "failed_bytes" || row["status"] == "out_of_memory";
        if value.is_null() && sized && !no_figures.contains(&key.as_str()) {
            paths.push(key.clone());
        }
        for part in ["start", "end"] {
            let readings = value.get(part).and_then(Value::as_object);
            let empty = readings
                .into_iter()
                .flatten()
                .filter(|(_, value)| value.is_null());
            paths.extend(empty.map(|(name, _)| format!("{key}.{part}.{name}")));
        }
        if METRICS.contains(&key.as_str())
            || ["memory", "energy", "device_state"].contains(&key.as_str())
        {
            let parts = value
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(_, value)| value.is_null());
            paths.extend(parts.map(|(part, _)| format!("{key}.{part}")));
            let tails = value["quantiles"]
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(_, value)| value.is_null());
            paths.extend(tails.map(|(part, _)| format!("{key}.quantiles.{part}")));
        }
    }
    paths
}

#[test]
fn what_was_not_measured_is_null_with_a_reason_and_never_zero() {
    let sandbox = Sandbox::new();
    let report = mixed(&sandbox, "json", &[]).json();
    let rows = report["trials"].as_array().unwrap();
    for row in rows {
        let reasons = row["not_measured"].as_object().unwrap();
        let empty = nulls(row);
        for path in &empty {
            assert!(
                reasons
                    .get(path)
                    .is_some_and(|reason| reason.as_str().unwrap().len() > 10),
                "{path}: {row}"
            );
        }
        // The other way round too: nothing is called not measured that has a figure.
        for path in reasons.keys().filter(|path| !path.starts_with("cost.")) {
            assert!(
                empty.contains(path),
                "{path} has a figure and a reason for having none: {row}"
            );
        }
    }
    // The crash came before the model was loaded, and the last one was never started.
    for row in &rows[2..] {
        for name in METRICS {
            assert!(row[name].is_null(), "{name}: {row}");
        }
        assert!(
            row["cost"].is_null() && row["avg_ns"].is_null() && row["avg_ts"].is_null(),
            "{row}"
        );
        assert_eq!(row["samples_ns"], json!([]));
    }
    assert!(rows[3]["memory"]["peak_bytes"].is_null());
}

#[test]
fn one_repetition_has_no_spread_and_one_token_no_latency() {
    let sandbox = Sandbox::new();
    let engine = sandbox.script(&json!({}));
    let args = [
        "--engine",
        &engine,
        "--model",
        "tiny-gpt2",
        "--seed",
        "1",
        "--device",
        "cpu",
    ];
    let run = |more: &[&str]| {
        let args: Vec<&str> = args.iter().chain(more).copied().collect();
        sandbox.run(&args).left_with(0).json()["trials"][0].clone()
    };
    for (row, path) in [
        (
            run(&["-r", "1", "-p", "4", "-n", "3", "--format", "json"]),
            "ttft_ms.sd",
        ),
        (
            run(&["-r", "2", "-p", "4", "-n", "1", "--format", "json"]),
            "itl_ms",
        ),
    ] {
        let empty = nulls(&row);
        assert!(empty.iter().any(|null| null == path), "{row}");
        for path in empty {
            assert!(row["not_measured"][&path].is_string(), "{path}: {row}");
        }
    }
}
