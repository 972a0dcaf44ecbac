//! `edgebench compare`: results kept for tests against each other, conditions and their exit codes, and files that are none.

use crate::sandbox::{Ran, Sandbox};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A result of an earlier version, kept for these tests.
fn committed(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/results");
    folder.join(name).to_str().unwrap().to_owned()
}

const CPU: &str = "cpu-quick-4g.json";
const H100: &str = "h100-quick-4g.json";
const NO_GRAPH: &str = "h100-quick-4g-no-graph.json";

/// Compares two committed results.
fn compare(sandbox: &Sandbox, a: &str, b: &str, more: &[&str]) -> Ran {
    let (a, b) = (committed(a), committed(b));
    sandbox.run(&[&["compare", &a, &b][..], more].concat())
}

/// The verdict of each row on a metric.
fn verdicts(comparison: &Value, metric: &str) -> Vec<String> {
    let pairs = comparison["against"][0]["pairs"].as_array().unwrap().iter();
    let word = |pair: &Value| {
        let mut metrics = pair["metrics"].as_array().unwrap().iter();
        let found = metrics.find(|found| found["metric"] == metric).unwrap();
        found["verdict"].as_str().unwrap().to_owned()
    };
    pairs.map(word).collect()
}

const METRICS: [&str; 7] = [
    "ttft_ms",
    "prefill_tok_s",
    "decode_tok_s",
    "itl_ms_p50",
    "itl_ms_p90",
    "peak_bytes",
    "cost_per_million_tokens",
];

#[test]
fn the_cpu_and_the_gpu_are_shown_side_by_side_and_another_precision_is_not_compared() {
    let sandbox = Sandbox::new();
    let table = compare(&sandbox, CPU, H100, &[]).left_with(0);
    assert!(
        table.stdout.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    for part in [
        "NVIDIA H100 80GB HBM3",
        "580.159.04",
        "dense-120m",
        "37.8",
        "1757.8",
        "other precision (A fp32, B fp16)",
        "4 not comparable of 4 rows",
    ] {
        assert!(table.stdout.contains(part), "{part}: {table}");
    }
    assert_eq!(table.stderr, "");
    assert!(sandbox.written().is_empty());
    let json = compare(&sandbox, CPU, H100, &["--format", "json"])
        .left_with(0)
        .json();
    for metric in METRICS {
        assert_eq!(verdicts(&json, metric), ["not_comparable"; 4], "{metric}");
    }
}

#[test]
fn a_result_against_itself_is_no_difference() {
    let sandbox = Sandbox::new();
    let json = compare(&sandbox, H100, H100, &["--format", "json"])
        .left_with(0)
        .json();
    for metric in METRICS {
        assert_eq!(verdicts(&json, metric), ["no_difference"; 4], "{metric}");
    }
    assert_eq!(json["differences"], json!([]));
}

#[test]
fn without_cuda_graphs_decoding_is_slower_and_the_option_is_listed() {
    let sandbox = Sandbox::new();
    let json = compare(&sandbox, H100, NO_GRAPH, &["--format", "json"])
        .left_with(0)
        .json();
    for metric in ["decode_tok_s", "itl_ms_p50", "itl_ms_p90"] {
        assert_eq!(verdicts(&json, metric), ["slower"; 4], "{metric}");
    }
    assert_eq!(verdicts(&json, "cost_per_million_tokens"), ["dearer"; 4]);
    assert_eq!(json["differences"][0]["name"], "options");
    let pair = &json["against"][0]["pairs"][0];
    let decode = &pair["metrics"][2];
    let (ratio, ends) = (decode["ratio"].as_f64().unwrap(), &decode["ci95"]);
    let expected = decode["other"].as_f64().unwrap() / decode["baseline"].as_f64().unwrap();
    assert!((ratio - expected).abs() < 1e-12);
    assert!(ends[0].as_f64().unwrap() < ratio && ratio < ends[1].as_f64().unwrap());
}

#[test]
fn conditions_end_in_exit_code_7_and_the_comparison_is_printed_all_the_same() {
    let sandbox = Sandbox::new();
    let run = |a, b, condition| compare(&sandbox, a, b, &["--fail-if", condition]);
    run(H100, NO_GRAPH, "decode_tok_s<0.2").left_with(0);
    let failed = run(H100, NO_GRAPH, "decode_tok_s<0.95").left_with(7);
    assert!(
        failed.stdout.contains("decode_tok_s<0.95: failed"),
        "{failed}"
    );
    assert!(
        failed
            .stderr
            .starts_with("error: regression found: decode_tok_s<0.95 is true for dense-120m/fused"),
        "{failed}"
    );
    assert_eq!(failed.stderr.lines().count(), 1, "{failed}");
    // Nothing of it can be judged, so it does not pass.
    let unjudged = run(CPU, H100, "decode_tok_s<0.95").left_with(7);
    assert!(
        unjudged
            .stderr
            .contains("could not be judged for dense-120m/fused")
            && unjudged.stderr.contains("other precision")
            && unjudged
                .stderr
                .starts_with("error: no regression found, but"),
        "{unjudged}"
    );
    // Rows that only the baseline has are not passed over either.
    run(H100, "h100-batch-4g.json", "decode_tok_s<0.5").left_with(7);
    let both = [
        "--fail-if",
        "decode_tok_s<0.2",
        "--fail-if",
        "peak_bytes>1.1",
    ];
    let both = compare(&sandbox, H100, NO_GRAPH, &both).left_with(7);
    assert!(
        !both.stderr.contains("decode_tok_s") && both.stderr.contains("alchemist-16m"),
        "{both}"
    );
}

#[test]
fn a_condition_or_name_that_means_nothing_is_refused_before_a_file_is_read() {
    let sandbox = Sandbox::new();
    let table: [(&str, &str, &[&str]); 7] = [
        ("--fail-if", "speed<0.95", &["'speed'", "decode_tok_s"]),
        ("--fail-if", "decode_tok_s", &["<, <=, > or >="]),
        ("--fail-if", "decode_tok_s<fast", &["a ratio"]),
        ("--fail-if", "decode_tok_s>0.9", &["equal results"]),
        ("--fail-if", "", &["write for example"]),
        ("--match", "llama", &["NAME=MODEL"]),
        ("--format", "html", &["table, json, csv, markdown"]),
    ];
    for (flag, value, parts) in table {
        let args = ["compare", "/nonexistent/a", "/nonexistent/b", flag, value];
        let parts = [&[flag], parts].concat();
        sandbox.run(&args).refused(2, &parts);
    }
    sandbox.run(&["compare"]).refused(2, &["<BASELINE>"]);
    sandbox.run(&["compare", "a"]).refused(2, &["<FILE>"]);
    let (a, b) = (committed(CPU), committed(H100));
    sandbox
        .run(&["compare", &a, &b, "--match", "no-such=llama-1b"])
        .refused(2, &["'no-such'", "dense-120m"]);
}

#[test]
fn a_file_that_is_none_is_named_with_the_reason() {
    let sandbox = Sandbox::new();
    let good = committed(H100);
    let text = fs::read_to_string(&good).unwrap();
    let newer = text.replacen(
        "\"schema_version\": \"1.0\"",
        "\"schema_version\": \"2.0\"",
        1,
    );
    let no_rows = text.replacen("\"trials\"", "\"rows\"", 1);
    let table: [(&str, &str, &str); 9] = [
        ("text", "not a result", "it is not JSON"),
        ("empty", "", "it is not JSON"),
        ("cut", &text[..text.len() / 2], "it is not JSON"),
        ("other", "{\"a\": 1}", "schema_version"),
        ("newer", &newer, "schema version \"2.0\""),
        ("damaged", &no_rows, "damaged"),
        ("list", "[1, 2]", "not one of llama-bench"),
        ("nothing", "[]", "it is empty"),
        (
            "huge",
            "{\"schema_version\": \"1.0\", \"seed\": 1e999}",
            "not JSON",
        ),
    ];
    for (name, content, part) in table {
        let path = sandbox.file(name, content);
        sandbox
            .run(&["compare", &good, &path])
            .refused(2, &[&path, part]);
        sandbox
            .run(&["compare", &path, &good])
            .refused(2, &[&path, part]);
    }
    let binary = sandbox.file("binary", [0xff, 0xfe, 0x00]);
    let folder = sandbox.work();
    for path in [
        "/nonexistent/b.json",
        binary.as_str(),
        folder.to_str().unwrap(),
    ] {
        sandbox
            .run(&["compare", &good, path])
            .refused(2, &["could not read", path]);
    }
}

#[test]
fn unknown_fields_and_a_later_minor_version_are_read_and_values_are_not_trusted() {
    let sandbox = Sandbox::new();
    let mut report: Value =
        serde_json::from_str(&fs::read_to_string(committed(H100)).unwrap()).unwrap();
    report["schema_version"] = json!("1.9");
    report["later"] = json!({"a": [1]});
    report["finished"] = json!(false);
    let row = &mut report["trials"][0];
    row["later"] = json!(1);
    row["model"] = json!("<script>|\u{1b}[31m");
    row["decode_tok_s"]["mean"] = json!(1e308);
    row["decode_tok_s"]["samples"] = json!([1e308, -1e308, 0.0]);
    row["ttft_ms"]["mean"] = json!(0.0);
    let path = sandbox.file("strange.json", report.to_string());
    for format in ["table", "json", "csv", "markdown"] {
        let ran = sandbox
            .run(&["compare", &path, &path, "--format", format])
            .left_with(0);
        assert!(!ran.stdout.contains("NaN"), "{ran}");
        if format == "table" {
            assert!(!ran.stdout.contains('\u{1b}'), "{ran}");
            let widths = ran.stdout.lines().map(|line| line.chars().count());
            assert!(widths.max() <= Some(80), "{ran}");
        }
        assert!(
            format != "markdown" || !ran.stdout.contains("<script"),
            "{ran}"
        );
    }
    let table = sandbox
        .run(&["compare", &committed(H100), &path])
        .left_with(0);
    assert!(table.stdout.contains("unfinished"), "{table}");
    assert!(
        table.stdout.contains("Only in A: dense-120m/fused"),
        "{table}"
    );
}

#[test]
fn files_with_nothing_in_common_and_a_thousand_rows_are_compared() {
    let sandbox = Sandbox::new();
    let ran = compare(&sandbox, H100, "h100-larger-8g.json", &[]).left_with(0);
    assert!(
        ran.stdout.contains("No row of B was run in A")
            && ran.stdout.contains("Only in B: dense-350m/"),
        "{ran}"
    );
    let mut report: Value =
        serde_json::from_str(&fs::read_to_string(committed(H100)).unwrap()).unwrap();
    let row = report["trials"][0].clone();
    let rows = (1..=1000).map(|batch| {
        let mut row = row.clone();
        row["batch"] = json!(batch);
        row["id"] = json!(format!("dense-120m/fused/fp16/b{batch}/pp256/tg128"));
        row
    });
    report["trials"] = rows.collect();
    let path = sandbox.file("many.json", report.to_string());
    let many = sandbox
        .run(&["compare", &path, &path, "--format", "json"])
        .left_with(0)
        .json();
    assert_eq!(verdicts(&many, "decode_tok_s"), vec!["no_difference"; 1000]);
}

#[test]
fn three_files_are_compared_with_the_first() {
    let sandbox = Sandbox::new();
    let files = [committed(H100), committed(NO_GRAPH), committed(CPU)];
    let args: Vec<&str> = ["compare"]
        .into_iter()
        .chain(files.iter().map(String::as_str))
        .collect();
    let ran = sandbox.run(&args).left_with(0);
    for part in [
        "B against A",
        "C against A",
        "4 slower of 4 rows",
        "4 not comparable of 4 rows",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {ran}");
    }
    assert!(
        ran.stdout.lines().all(|line| line.chars().count() <= 80),
        "{ran}"
    );
}

#[test]
fn llama_bench_is_compared_where_the_user_says_which_model_it_ran() {
    let sandbox = Sandbox::new();
    let test = |prompt: u32, generated: u32, depth: u32, speed: f64| {
        json!({
            "build_commit": "1a2b3c4", "build_number": 5000, "cpu_info": "x", "gpu_info": "NVIDIA H100 80GB HBM3",
            "backends": "CUDA", "model_filename": "m.gguf", "model_type": "llama 1B F16", "model_size": 2_479_595_776u64,
            "model_n_params": 1_235_814_400u64, "n_batch": 2048, "n_threads": 16, "type_k": "f16", "type_v": "f16",
            "n_gpu_layers": 99, "n_prompt": prompt, "n_gen": generated, "n_depth": depth,
            "test_time": "2026-01-01T00:00:00Z", "avg_ns": 1, "stddev_ns": 1, "avg_ts": speed, "stddev_ts": 1.0,
            "samples_ns": [1, 2], "samples_ts": [speed * 0.99, speed * 1.01], "a_later_field": true,
        })
    };
    let tests = json!([test(256, 0, 0, 20_000.0), test(0, 128, 256, 600.0)]);
    let path = sandbox.file("llama.json", tests.to_string());
    let ours = committed("h100-larger-8g.json");
    let unnamed = sandbox.run(&["compare", &ours, &path]).left_with(0);
    assert!(
        unnamed.stdout.contains("No row of B was run in A"),
        "{unnamed}"
    );
    let one_line = unnamed
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        one_line.contains("--match 'llama 1B F16=llama-1b'"),
        "{unnamed}"
    );
    let named = [
        "compare",
        &ours,
        &path,
        "--match",
        "llama 1B F16=llama-1b",
        "--format",
        "json",
    ];
    let json = sandbox.run(&named).left_with(0).json();
    assert_eq!(verdicts(&json, "decode_tok_s"), ["slower"]);
    let metrics = json["against"][0]["pairs"][0]["metrics"]
        .as_array()
        .unwrap()
        .iter();
    for found in metrics.filter(|found| !found["metric"].as_str().unwrap().ends_with("tok_s")) {
        assert!(
            found["other"].is_null() && found["ratio"].is_null(),
            "{found}"
        );
        assert_eq!(
            found["not_measured"]["other"],
            "llama-bench does not measure it"
        );
    }
}

#[test]
fn colour_is_used_when_it_is_asked_for_only() {
    let sandbox = Sandbox::new();
    assert!(!compare(&sandbox, H100, H100, &[]).stdout.contains('\u{1b}'));
    let always = compare(&sandbox, H100, NO_GRAPH, &["--color", "always"]);
    assert!(
        always.stdout.contains("\u{1b}[31mslower\u{1b}[0m"),
        "{always}"
    );
}
