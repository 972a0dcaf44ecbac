//! `edgebench report`: a page of committed results, and files that none can be made of.

use crate::sandbox::Sandbox;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A committed result.
fn committed(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benchmarks/results");
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn a_page_is_written_where_asked_and_its_values_are_those_of_the_result() {
    let sandbox = Sandbox::new();
    let result = committed("h100-memory-matrix.json");
    let ran = sandbox
        .run(&["report", &result, "-o", "made/page.html"])
        .left_with(0);
    assert_eq!(ran.stdout, "made/page.html\n");
    let page = fs::read_to_string(sandbox.work().join("made/page.html")).unwrap();
    let json: Value = serde_json::from_str(&fs::read_to_string(&result).unwrap()).unwrap();
    assert!(
        page.starts_with("<!DOCTYPE html>")
            && !page.contains("http://")
            && !page.contains("https://")
    );
    for row in json["trials"].as_array().unwrap() {
        let id = row["id"].as_str().unwrap();
        assert!(page.contains(&format!("<tr data-row=\"{id}\">")), "{id}");
        for value in [&row["memory"]["peak_bytes"], &row["decode_tok_s"]["mean"]] {
            let shown = value.is_null() || page.contains(&format!("data-value=\"{value}\""));
            assert!(shown, "{id}: {value}");
        }
    }
    for line in json["verdict"].as_str().unwrap().lines() {
        assert!(
            page.contains(&format!("<p class=\"verdict\">{line}</p>")),
            "{line}"
        );
    }
}

#[test]
fn without_a_place_the_page_is_report_html_and_a_dash_is_standard_output() {
    let sandbox = Sandbox::new();
    let result = committed("cpu-quick-4g.json");
    assert_eq!(
        sandbox.run(&["report", &result]).left_with(0).stdout,
        "report.html\n"
    );
    let kept = fs::read_to_string(sandbox.work().join("report.html")).unwrap();
    let told = sandbox
        .run(&["report", &result, "-o", "-"])
        .left_with(0)
        .stdout;
    assert!(kept == told && kept.ends_with("</html>\n"));
}

#[test]
fn results_with_nothing_in_common_stand_side_by_side_all_the_same() {
    let sandbox = Sandbox::new();
    let mut other: Value =
        serde_json::from_str(&fs::read_to_string(committed("cpu-quick-4g.json")).unwrap()).unwrap();
    for row in other["trials"].as_array_mut().unwrap() {
        row["model"] = "another".into();
    }
    let other = sandbox.file("other.json", other.to_string());
    let page = sandbox
        .run(&[
            "report",
            &committed("h100-quick-4g.json"),
            &other,
            "-o",
            "-",
        ])
        .left_with(0)
        .stdout;
    assert!(page.contains("No row of B was run in A: nothing can be compared."));
    assert!(page.contains("data-result=\"A\"") && page.contains("data-result=\"B\""));
}

#[test]
fn llama_bench_stands_in_the_comparison_only() {
    let sandbox = Sandbox::new();
    let test = |prompt: u32, generated: u32, depth: u32| {
        serde_json::json!({
            "model_type": "llama 1B F16", "model_n_params": 1_235_814_400u64, "type_k": "f16", "type_v": "f16", "n_threads": 16,
            "n_prompt": prompt, "n_gen": generated, "n_depth": depth, "avg_ts": 600.0, "samples_ts": [598.0, 602.0],
            "build_commit": "1a2b3c4", "build_number": 5000, "model_size": 1, "cpu_info": "x", "gpu_info": "y", "backends": "CUDA",
            "model_filename": "m.gguf", "n_batch": 2048, "n_gpu_layers": 99, "test_time": "2026-01-01T00:00:00Z", "avg_ns": 1,
            "stddev_ns": 1, "stddev_ts": 1.0, "samples_ns": [1, 2],
        })
    };
    let tests = sandbox.file(
        "llama.json",
        serde_json::json!([test(256, 0, 0), test(0, 128, 256)]).to_string(),
    );
    let ours = committed("h100-memory-matrix.json");
    let named = [
        "report",
        &ours,
        &tests,
        "--match",
        "llama 1B F16=llama-1b",
        "-o",
        "-",
    ];
    let page = sandbox.run(&named).left_with(0).stdout;
    assert!(page.contains("data-against=\"B\"") && !page.contains("data-result=\"B\""));
    let alone = sandbox.run(&["report", &tests]).left_with(2);
    assert!(
        alone
            .stderr
            .contains("no result of edgebench among these files"),
        "{alone}"
    );
}

#[test]
fn files_that_are_no_result_are_refused_as_compare_does_and_leave_no_page() {
    let sandbox = Sandbox::new();
    let whole = fs::read_to_string(committed("cpu-quick-4g.json")).unwrap();
    let mut newer: Value = serde_json::from_str(&whole).unwrap();
    newer["schema_version"] = "2.0".into();
    let nan = whole.replacen("\"seed\": 42", "\"seed\": NaN", 1);
    assert_ne!(nan, whole);
    let cases = [
        (
            "cut.json",
            whole[..whole.len() / 2].to_owned(),
            "it is not JSON",
        ),
        (
            "newer.json",
            newer.to_string(),
            "has schema version \"2.0\"",
        ),
        (
            "foreign.json",
            "{\"a\": 1}".to_owned(),
            "it has no \"schema_version\"",
        ),
        ("nan.json", nan, "it is not JSON"),
        (
            "huge.json",
            whole.replacen("\"seed\": 42", "\"seed\": 1e999", 1),
            "it is not JSON",
        ),
        ("empty.json", String::new(), "it is not JSON"),
    ];
    for (name, text, part) in cases {
        let file = sandbox.file(name, text);
        let ran = sandbox
            .run(&["report", &committed("cpu-quick-4g.json"), &file])
            .left_with(2);
        assert!(
            ran.stderr.contains(part) && ran.stderr.contains(name),
            "{ran}"
        );
        let compared = sandbox
            .run(&["compare", &committed("cpu-quick-4g.json"), &file])
            .left_with(2);
        assert_eq!(ran.stderr, compared.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{ran}");
    }
    let missing = sandbox.run(&["report", "nowhere.json"]).left_with(2);
    assert!(
        missing.stderr.contains("could not read nowhere.json"),
        "{missing}"
    );
    assert!(!sandbox.work().join("report.html").exists());
}

#[test]
fn a_page_never_takes_the_place_of_its_result() {
    let sandbox = Sandbox::new();
    let result = sandbox.file(
        "result.json",
        fs::read(committed("cpu-quick-4g.json")).unwrap(),
    );
    let ran = sandbox
        .run(&["report", &result, "-o", &result])
        .left_with(2);
    assert!(ran.stderr.contains("choose another file with -o"), "{ran}");
    assert!(fs::read_to_string(&result).unwrap().starts_with('{'));
    let folder = sandbox
        .run(&["report", &result, "-o", "/proc/edgebench/page.html"])
        .left_with(8);
    assert!(
        folder.stderr.contains("choose another place with -o"),
        "{folder}"
    );
}
